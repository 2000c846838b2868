"""A decoded token on cached latents: DeepSeek's small version, counted by hand."""

import pytest

from tests.verbs.small_architectures import small_config
from topout.cost.graph.calls import LoggedCall, Use
from topout.cost.graph.latents import on_latents
from topout.cost.ops import Op
from topout.models.structure.build import build_on_meta
from topout.verbs.counted_model import ModulePasses

B, T, H = 3, 50, 4
LATENT, ROTATED, PLAIN, VALUE, LAYERS = 20, 8, 16, 12, 5


@pytest.fixture(scope="module")
def decoded() -> dict[str, Op]:
    counting = ModulePasses(build_on_meta(small_config("deepseek_v3"), "small", "bf16"))
    return {op.name: op for op in counting.decode(B, T, 0)}


def test_the_projection_is_of_one_token(decoded: dict[str, Op]) -> None:
    projection = decoded["self_attn.kv_b_proj"]
    outputs = H * (PLAIN + VALUE)
    assert projection.shape == f"{B}×{LATENT} · {LATENT}×{outputs}"
    assert projection.flops == LAYERS * 2 * B * LATENT * outputs
    assert projection.weight_elements == LAYERS * LATENT * outputs
    assert projection.kv_elements == 0
    # Into it go the plain part of the query and the latents that were attended to; out of it come
    # a query for the latents, and the values.
    moved = (PLAIN + LATENT) + (LATENT + VALUE)
    assert projection.activation_elements == LAYERS * B * H * moved


def test_latents_are_read_once_for_all_heads(decoded: dict[str, Op]) -> None:
    attention = decoded["self_attn"]
    assert attention.flops == LAYERS * 2 * B * H * T * (2 * LATENT + ROTATED)
    assert attention.kv_elements == LAYERS * B * T * (LATENT + ROTATED)
    assert attention.shape == f"{B}×{H} heads, 1 × {T} of {LATENT + ROTATED}"


def test_keys_that_no_attention_reads_stay_as_they_are() -> None:
    weight, cached, out = (Use(a, 8, 8, (2, 2), 0) for a in (1, 2, 3))
    product = LoggedCall("aten::mm", "product", "", 16.0, 0.0, (cached, weight), (out,), ())
    calls = [product]
    assert on_latents(calls, {1}, {2}) is calls
