"""How rotary positions are stretched past the context that a model was trained at."""

import msgspec

from topout.errors import UnsupportedError
from topout.models.fields import Fields

SCALINGS = ["default", "linear", "dynamic", "llama3", "yarn"]
DEFAULT_THETA = 10_000.0  # what transformers takes when config.json states none


class _Scaling(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Base of the variants: immutable, told apart by `kind` in JSON."""


class LinearScaling(_Scaling, frozen=True, kw_only=True, tag="linear"):
    """Every frequency divided by `factor`."""

    factor: float


class DynamicScaling(_Scaling, frozen=True, kw_only=True, tag="dynamic"):
    """Base frequency raised with the length once that exceeds the context (NTK-aware)."""

    factor: float


class Llama3Scaling(_Scaling, frozen=True, kw_only=True, tag="llama3"):
    """Low frequencies divided by `factor`, high ones kept, those between interpolated."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context_len: int


class YarnScaling(_Scaling, frozen=True, kw_only=True, tag="yarn"):
    """Interpolation by wavelength, cosine and sine scaled by `attention_factor` (2309.00071)."""

    factor: float
    original_context_len: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None  # None: 0.1·ln(factor) + 1, or from the mscales
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True


RopeScaling = LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling


def read_rope(fields: Fields, context_len: int) -> tuple[float, RopeScaling | None]:
    """The base frequency and the scaling that a config states, in the old or the new manner.

    Old: `rope_theta` and `rope_scaling` with `type` or `rope_type`. New: `rope_parameters` that
    holds both. Raises InputError for a wrong field, UnsupportedError for another scaling.
    """
    key = "rope_scaling" if fields.has("rope_scaling") else "rope_parameters"
    rope = fields.nested(key)
    theta_fields = rope if rope.has("rope_theta") else fields
    theta = theta_fields.number("rope_theta", DEFAULT_THETA, least=1.0)
    for place in (fields, rope):
        if place.number("partial_rotary_factor", 1.0) != 1.0:
            raise UnsupportedError(
                f"{place.source}: `partial_rotary_factor` other than 1 is not supported.",
                "Choose a model that rotates whole heads.",
            )
    kind = rope.text("rope_type", rope.text("type", "default"))
    if kind == "default":
        return theta, None
    if kind not in SCALINGS:
        raise UnsupportedError(
            f"{rope.source}: RoPE scaling {kind!r} is not supported.",
            f"Supported are {', '.join(SCALINGS)}.",
        )
    # Some configs state the trained length beside the scaling instead of in it; it goes first.
    place = fields if fields.has("original_max_position_embeddings") else rope
    original = place.integer("original_max_position_embeddings", context_len)
    return theta, _scaling(kind, rope, original)


def _scaling(kind: str, rope: Fields, original_context_len: int) -> RopeScaling:
    factor = rope.number("factor")
    if kind == "linear":
        return LinearScaling(factor=factor)
    if kind == "dynamic":
        return DynamicScaling(factor=factor)
    if kind == "llama3":
        low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
        if high <= low:
            raise rope.wrong("high_freq_factor", high, f"above `low_freq_factor`, {low:g}")
        return Llama3Scaling(
            factor=factor,
            low_freq_factor=low,
            high_freq_factor=high,
            original_context_len=original_context_len,
        )

    def optional(key: str) -> float | None:
        return rope.number(key) if rope.has(key) else None

    return YarnScaling(
        factor=factor,
        original_context_len=original_context_len,
        beta_fast=rope.number("beta_fast", 32.0),
        beta_slow=rope.number("beta_slow", 1.0),
        attention_factor=optional("attention_factor"),
        mscale=optional("mscale"),
        mscale_all_dim=optional("mscale_all_dim"),
        truncate=rope.flag("truncate", True),
    )
