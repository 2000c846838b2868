"""Generated products and attention against the library's."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.generation.tiny_builds import build_of
from tests.models.tiny import GPT2, GROUPED, MISTRAL, QWEN3, Fields, make_source, make_tokens
from topout.models.decoder import Decoder, StaticCache
from topout.models.load import load_decoder
from topout.rungs.generate_gemv import (
    MOST_ROWS,
    GeneratedAttention,
    GeneratedGemvLinear,
    GenerateGemv,
    few_rows_product,
    most_rows,
)

pytestmark = pytest.mark.seconds(50)

N, K = 24, 40


@pytest.fixture(autouse=True)
def _as_in_a_compiled_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products are generated in compiled graphs alone; their arithmetic is tested op by op."""
    monkeypatch.setattr("topout.rungs.generate_gemv.is_compiling", lambda: True)


def linear_of(dtype: torch.dtype, *, bias: bool = True) -> nn.Linear:
    torch.manual_seed(2)
    return nn.Linear(K, N, bias=bias).requires_grad_(False).to(dtype)


# --- products ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", range(1, 9))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_of_few_rows_is_the_linear_layers(rows: int, dtype: torch.dtype) -> None:
    weight, x = linear_of(dtype).weight, torch.randn(rows, K).to(dtype)
    found = few_rows_product(x, weight)
    assert found.dtype == torch.float32 and found.shape == (rows, N)
    # Both factors are widened first, so that only the order of summation differs.
    torch.testing.assert_close(found, F.linear(x.float(), weight.float()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 8, 9, 30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_gives_what_it_replaces(rows: int, dtype: torch.dtype, bias: bool) -> None:
    linear = linear_of(dtype, bias=bias)
    layer = GeneratedGemvLinear(linear)
    x = torch.randn(rows, K).to(dtype)
    found, expected = layer(x), linear(x)
    assert found.dtype == dtype
    if rows > most_rows(linear.weight):
        assert torch.equal(found, expected)  # the library's own
    else:
        tolerance = 1e-5 if dtype == torch.float32 else 0.03
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("shape", [(K,), (1, K), (1, 1, K), (2, 3, K), (5, 7, K)])
def test_shapes_are_those_of_a_linear_layer(shape: tuple[int, ...]) -> None:
    linear = linear_of(torch.float32)
    x = torch.randn(shape)
    torch.testing.assert_close(GeneratedGemvLinear(linear)(x), linear(x), atol=1e-5, rtol=1e-5)


def test_how_many_rows_are_few_depends_on_the_weights_type() -> None:
    for name, dtype in (
        ("fp32", torch.float32),
        ("bf16", torch.bfloat16),
        ("int8", torch.int8),
    ):
        assert most_rows(torch.zeros(2, 2, dtype=dtype)) == MOST_ROWS[name]
    assert most_rows(torch.zeros(2, 2, dtype=torch.float16)) == 0


# --- the model --------------------------------------------------------------------------------

MODELS: dict[str, Fields] = {
    "gpt2": GPT2,
    "layer_scaled": GPT2 | {"scale_attn_by_inverse_layer_idx": True},
    "grouped": GROUPED,
    "qwen3": QWEN3,
    "window": MISTRAL,
}


def transformed(fields: Fields, folder: Path) -> tuple[Decoder, Decoder]:
    """A decoder and its generated twin."""
    source = make_source(folder, fields)
    twin = GenerateGemv().transform_model(load_decoder(source), build_of(source, folder))
    return load_decoder(source), twin


def test_weights_are_shared_and_every_part_is_replaced(tmp_path: Path) -> None:
    source = make_source(tmp_path, GPT2)
    decoder = load_decoder(source)
    before = {name: each.data_ptr() for name, each in decoder.named_parameters()}
    twin = GenerateGemv().transform_model(decoder, build_of(source, tmp_path))
    assert {name: each.data_ptr() for name, each in twin.named_parameters()} == before
    assert twin.head.weight is twin.token_embedding.weight  # still tied
    linears = [part for part in twin.modules() if isinstance(part, nn.Linear)]
    assert len(linears) == 4 * 3 + 1
    assert all(isinstance(part, GeneratedGemvLinear) for part in linears)
    assert all(isinstance(block.attention, GeneratedAttention) for block in twin.blocks)


def decoded(decoder: Decoder, tokens: Tensor, mask_kind: str) -> Tensor:
    """Logits of a prefill of 9 and of the rest token by token."""
    batch, length = tokens.shape
    cache = StaticCache(decoder.config, batch, length + 3, torch.float32)
    slots = torch.arange(length + 3)
    with torch.inference_mode():
        rows = [decoder(tokens[:, :9], torch.arange(9), cache)[:, -1]]
        for at in range(9, length):
            mask = None if mask_kind == "none" else (slots <= at)[None]
            if mask_kind == "additive" and mask is not None:
                mask = torch.zeros(1, length + 3).masked_fill(~mask, float("-inf"))
            positions = torch.tensor([at])
            rows.append(decoder(tokens[:, at : at + 1], positions, cache, mask)[:, -1])
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("mask_kind", ["none", "bool", "additive"])
def test_decoding_gives_what_the_plain_decoder_gives(
    name: str, mask_kind: str, tmp_path: Path
) -> None:
    plain, twin = transformed(MODELS[name], tmp_path)
    tokens = make_tokens(plain.config.vocab_size, 2, 20)
    expected = decoded(plain, tokens, mask_kind)
    assert expected.std() > 0.2
    torch.testing.assert_close(decoded(twin, tokens, mask_kind), expected, atol=1e-4, rtol=1e-4)


def test_the_cost_model_hears_of_it(tmp_path: Path) -> None:
    from topout.cost.predict import Expectation

    build = build_of(make_source(tmp_path, GPT2), tmp_path)
    assert GenerateGemv().expect(Expectation(), build).generated_gemv_rows == MOST_ROWS


# --- compiled ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 5])
def test_compiled_it_gives_the_same(rows: int, inductor: None) -> None:
    linear = linear_of(torch.float32)
    layer = torch.compile(GeneratedGemvLinear(linear), fullgraph=True, dynamic=False)
    x = torch.randn(rows, K)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), linear(x), atol=1e-5, rtol=1e-5)
