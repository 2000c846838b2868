"""How weights are rounded, and kept in a safetensors file for every later session.

int8 has a scale per row, int4 a scale and an offset per group.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from topout.errors import WeightsError
from topout.kernels.linear_ops import GROUP_SIZES, Int4Weight, Int8Weight
from topout.whole_file import whole_file

_LARGEST_INT8 = 127
_LARGEST_INT4 = 15
# A narrower range rounds its outermost values further and all others less.
_NARROWER = (0.95, 0.9, 0.85, 0.8, 0.75)
_FITS = 3  # of scale and offset to the values, and of the values to those
_ROWS_AT_ONCE = 1 << 22  # values
QuantizedWeights = dict[str, Int8Weight | Int4Weight]  # by the name of the layer
_FIELDS = {"values": "weight"}  # how a field is called in the file


def quantize_per_channel(weight: Tensor) -> Int8Weight:
    """Weight [N, K] → int8 [N, K] and fp32 scales [N]: W ≈ int8 · scale, |error| ≤ scale / 2.

    A channel of zeros gets scale 1, so that nothing is divided by zero; so does one whose step
    would be subnormal, which holds too few digits to be a scale. Such weights become zeros.
    """
    weight = weight.float()
    scales = weight.abs().amax(dim=1) / _LARGEST_INT8
    scales = torch.where(scales >= torch.finfo(torch.float32).tiny, scales, torch.ones_like(scales))
    quantized = (weight / scales[:, None]).round().clamp(-_LARGEST_INT8, _LARGEST_INT8)
    return Int8Weight(quantized.to(torch.int8), scales)


def quantize_in_groups(weight: Tensor, group: int = 64) -> Int4Weight:
    """Weight [N, K] → 4 bits per value, with a bf16 scale and offset per `group` values along K.

    W ≈ scale · q + offset with q from 0 to 15. The least squared error counts: of some ranges for
    each group, then of lines fitted to what was rounded. K is a multiple of `group`.
    """
    n, k = weight.shape
    rows = max(1, _ROWS_AT_ONCE // max(1, k))
    pieces = [_quantize_rows(part.float(), group) for part in torch.split(weight, rows)]
    values, scales, offsets = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    packed = values[:, 0::2] | (values[:, 1::2] << 4)
    return Int4Weight(packed.reshape(n, k // 2), scales, offsets)


def _quantize_rows(weight: Tensor, group: int) -> tuple[Tensor, Tensor, Tensor]:
    n, k = weight.shape
    grouped = weight.reshape(n, k // group, group)
    low, high = grouped.amin(-1), grouped.amax(-1)
    middle, half = (low + high) / 2, (high - low) / 2
    best = _rounded(grouped, 2 * half / _LARGEST_INT4, low)
    for part in _NARROWER:
        best = _better(
            best, _rounded(grouped, 2 * part * half / _LARGEST_INT4, middle - part * half)
        )
    for _ in range(_FITS):
        best = _better(best, _rounded(grouped, *_fitted(grouped, best.values)))
    return best.values.to(torch.uint8).reshape(n, k), best.scale, best.offset


class _Rounding(NamedTuple):
    """Groups [N, K / group, group] rounded: values from 0 to 15, scale, offset, squared error."""

    values: Tensor
    scale: Tensor
    offset: Tensor
    error: Tensor


def _rounded(grouped: Tensor, scale: Tensor, offset: Tensor) -> _Rounding:
    """To the nearest values that a scale and an offset, themselves rounded to bf16, allow."""
    scale, offset = scale.to(torch.bfloat16), offset.to(torch.bfloat16)
    step = torch.where(scale > 0, scale, torch.ones_like(scale)).float()[..., None]
    shifted = grouped - offset.float()[..., None]
    values = (shifted / step).round().clamp(0, _LARGEST_INT4)
    error = (shifted - values * scale.float()[..., None]).square().sum(-1)
    return _Rounding(values, scale, offset, error)


def _better(one: _Rounding, other: _Rounding) -> _Rounding:
    """Of each group the rounding with the smaller error."""
    takes_other = other.error < one.error
    values = torch.where(takes_other[..., None], other.values, one.values)
    rest = (torch.where(takes_other, b, a) for a, b in zip(one[1:], other[1:], strict=True))
    return _Rounding(values, *rest)


def _fitted(grouped: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and offset of the least squared error for given values: a straight line."""
    mean_value, mean = values.mean(-1), grouped.mean(-1)
    spread = (values - mean_value[..., None]).square().sum(-1)
    common = ((values - mean_value[..., None]) * (grouped - mean[..., None])).sum(-1)
    scale = torch.where(spread > 0, common / spread.clamp_min(1e-30), torch.zeros_like(spread))
    return scale, mean - scale * mean_value


class Scheme(NamedTuple):
    """One way to quantize a whole model, each of its linear layers in turn.

    `quantize` takes a layer's name and weight [N, K]; the types of its answer follow from name and
    shape alone.
    """

    name: str  # in file names: "int8"
    format: str  # in a file's metadata; another one when anything about the rounding changes
    quantize: Callable[[str, Tensor], Int8Weight | Int4Weight]


def _int8(_: str, weight: Tensor) -> Int8Weight:
    return quantize_per_channel(weight)


INT8 = Scheme("int8", "topout-int8-per-channel-1", _int8)


def int4_scheme(group: int = 64) -> Scheme:
    """int4 in groups; the head, which decides between tokens, and widths without groups in int8."""

    def quantize(name: str, weight: Tensor) -> Int8Weight | Int4Weight:
        fitting = [size for size in (group, *GROUP_SIZES) if weight.shape[1] % size == 0]
        if name.rpartition(".")[2] in _HEADS or not fitting:
            return quantize_per_channel(weight)
        return quantize_in_groups(weight, fitting[0])

    return Scheme(f"int4-g{group}", f"topout-int4-g{group}-1", quantize)


_HEADS = ("head", "lm_head")


def linear_layers(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    """Names and modules of all linear layers."""
    return [(name, part) for name, part in model.named_modules() if isinstance(part, nn.Linear)]


def load_or_quantize(
    model: nn.Module, folder: Path, fingerprint: str, scheme: Scheme
) -> QuantizedWeights:
    """The checkpoint of these weights from `folder`, made and saved there if need be.

    Raises WeightsError where it is missing or damaged and the model was saved without the weights
    that it is made of.
    """
    path = checkpoint_path(folder, fingerprint, scheme)
    weights = _load(path, model, fingerprint, scheme)
    if weights is None:
        if any(linear.weight.is_meta for _, linear in linear_layers(model)):
            raise WeightsError(
                f"{path} is missing or damaged, and the weights it was made of are not there.",
                "Save the model again from the original.",
            )
        weights = quantize_model(model, scheme)
        _save(weights, path, fingerprint, scheme)
    return weights


def checkpoint_path(folder: Path, fingerprint: str, scheme: Scheme) -> Path:
    """Where `load_or_quantize` keeps a checkpoint."""
    return folder / f"{fingerprint}-{scheme.name}.safetensors"


def quantize_model(model: nn.Module, scheme: Scheme) -> QuantizedWeights:
    """The quantized weight of every linear layer, on the CPU."""
    return {
        name: _moved(scheme.quantize(name, linear.weight.detach()))
        for name, linear in linear_layers(model)
    }


def _moved(weight: Int8Weight | Int4Weight) -> Int8Weight | Int4Weight:
    return type(weight)(*(part.cpu() for part in weight))


def _tensors(weights: QuantizedWeights) -> dict[str, Tensor]:
    return {
        f"{name}.{_FIELDS.get(field, field)}": tensor.contiguous()
        for name, weight in weights.items()
        for field, tensor in weight._asdict().items()
    }


def _load(
    path: Path, model: nn.Module, fingerprint: str, scheme: Scheme
) -> QuantizedWeights | None:
    """The weights of a saved checkpoint; None where it is missing, damaged or of other weights."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != scheme.format:
                return None
            if metadata.get("fingerprint") != fingerprint:
                return None
            # Copies in memory of their own: a mapped file is paged in while it is timed, and its
            # tensors are not aligned as the int8 kernel needs them.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    weights: QuantizedWeights = {}
    for name, linear in linear_layers(model):
        expected = _shape_of(scheme, name, linear)
        found = _weight_of(name, tensors, type(expected))
        if found is None or _described(found) != _described(expected) or not _is_finite(found):
            return None
        weights[name] = found
    return weights


def _shape_of(scheme: Scheme, name: str, linear: nn.Linear) -> Int8Weight | Int4Weight:
    """Types and shapes of a layer's quantized weight, without its values."""
    return scheme.quantize(name, torch.empty(linear.weight.shape, device="meta"))


def _weight_of(
    name: str, tensors: Mapping[str, Tensor], kind: type[Int8Weight] | type[Int4Weight]
) -> Int8Weight | Int4Weight | None:
    parts = [tensors.get(f"{name}.{_FIELDS.get(field, field)}") for field in kind._fields]
    return None if any(part is None for part in parts) else kind(*parts)  # type: ignore[arg-type]


def _is_finite(weight: Int8Weight | Int4Weight) -> bool:
    return all(bool(torch.isfinite(part).all()) for part in weight if part.is_floating_point())


def _described(weight: Int8Weight | Int4Weight) -> list[tuple[torch.Size, torch.dtype]]:
    return [(part.shape, part.dtype) for part in weight]


def _save(weights: QuantizedWeights, path: Path, fingerprint: str, scheme: Scheme) -> None:
    """Save through a temporary file; a folder that cannot be written costs only the saving."""
    metadata = {"format": scheme.format, "fingerprint": fingerprint}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, 0o600) as unfinished:
            save_file(_tensors(weights), unfinished, metadata)
    except (OSError, SafetensorError) as error:
        print(f"the {scheme.name} checkpoint was not saved: {error}")  # noqa: T201 - worker's log
