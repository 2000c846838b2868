"""int8 weights: how far they are off, what is saved, and what is made anew."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.generation.tiny_builds import LONG_GPT2, MODELS, build_of, session_of, source_of
from tests.models.tiny import make_source
from topout.generation.quality import judged_by_distance
from topout.generation.reference import make_reference
from topout.generation.session import DecoderSession, memory_bytes_of
from topout.generation.verify import verify
from topout.models.decoder import Decoder
from topout.models.load import load_decoder
from topout.models.source import ModelSource
from topout.quantization.rounding import linear_layers, quantize_per_channel
from topout.rungs.generate_gemv import GenerateGemv, most_rows
from topout.rungs.quantize_weights_int8 import (
    QuantizeWeightsInt8,
    WeightOnlyInt8Linear,
)


@pytest.fixture(autouse=True)
def _as_in_a_compiled_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products are generated in compiled graphs alone; their arithmetic is tested op by op."""
    for module in ("generate_gemv", "quantize_weights_int8"):
        monkeypatch.setattr(f"topout.rungs.{module}.is_compiling", lambda: True)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return source_of(tmp_path_factory.mktemp("model"), "gpt2")


@pytest.fixture
def model(source: ModelSource) -> Decoder:
    return load_decoder(source)


# --- the layer --------------------------------------------------------------------------------


def layer_of(
    *, generated: bool, bias: bool = True, n: int = 24, k: int = 32
) -> WeightOnlyInt8Linear:
    torch.manual_seed(1)
    quantized, scales = quantize_per_channel(torch.randn(n, k))
    return WeightOnlyInt8Linear(
        quantized, scales, torch.randn(n) if bias else None, generated=generated
    )


def exact_product(layer: WeightOnlyInt8Linear, x: Tensor) -> Tensor:
    weight = layer.weight.float() * layer.scales[:, None]
    return F.linear(x.float(), weight, layer.bias)


@pytest.mark.parametrize("rows", range(1, 4))
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("k", [32, 33, 8])
def test_both_products_agree(rows: int, bias: bool, k: int) -> None:
    torch.manual_seed(rows)
    x = torch.randn(rows, k)
    library = layer_of(generated=False, bias=bias, k=k)
    generated = layer_of(generated=True, bias=bias, k=k)
    expected = exact_product(library, x)
    # The library's kernel rounds x, the scales and its result to bf16, 8 bits of mantissa.
    torch.testing.assert_close(library(x), expected, atol=0.15, rtol=0.03)
    if rows <= most_rows(generated.weight):
        torch.testing.assert_close(generated(x), expected, atol=1e-4, rtol=1e-4)
    else:
        assert torch.equal(generated(x), library(x))


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shapes_and_types_are_those_of_a_linear_layer(generated: bool, dtype: torch.dtype) -> None:
    layer = layer_of(generated=generated)
    layer.bias = layer.bias.to(dtype)  # type: ignore[union-attr]
    for shape in ((32,), (1, 32), (2, 3, 32), (4, 5, 32)):
        y = layer(torch.randn(shape).to(dtype))
        assert y.shape == (*shape[:-1], 24)
        assert y.dtype == dtype


# --- the model --------------------------------------------------------------------------------


def quantized_model(source: ModelSource, folder: Path, *, generated: bool = False) -> Decoder:
    build = build_of(source, folder)
    decoder = load_decoder(source)
    if generated:
        decoder = GenerateGemv().transform_model(decoder, build)
    return QuantizeWeightsInt8().transform_model(decoder, build)


@pytest.mark.parametrize("generated", [True, False])
def test_every_linear_layer_is_replaced(
    source: ModelSource, tmp_path: Path, generated: bool
) -> None:
    decoder = quantized_model(source, tmp_path, generated=generated)
    assert linear_layers(decoder) == []
    layers = [part for part in decoder.modules() if isinstance(part, WeightOnlyInt8Linear)]
    assert len(layers) == 4 * source.config.layers + 1  # four of each block, and the head
    assert {layer.generated for layer in layers} == {generated}


def test_a_tied_embedding_keeps_its_type(source: ModelSource, tmp_path: Path) -> None:
    assert source.config.tied_head
    decoder = quantized_model(source, tmp_path)
    assert decoder.token_embedding.weight.dtype == torch.float32
    assert isinstance(decoder.head, WeightOnlyInt8Linear)
    assert torch.equal(decoder.token_embedding.weight, load_decoder(source).token_embedding.weight)


def test_the_linear_weights_shrink_to_a_quarter(source: ModelSource, tmp_path: Path) -> None:
    plain, small = load_decoder(source), quantized_model(source, tmp_path)
    in_layers = sum(linear.weight.numel() for _, linear in linear_layers(plain))
    channels = sum(linear.out_features for _, linear in linear_layers(plain))
    head = source.config.vocab_size * source.config.width
    # The head had no memory of its own. A scale per channel is kept in fp32 and in bf16.
    saved = 4 * (in_layers - head) - in_layers - (4 + 2) * channels
    assert memory_bytes_of(plain) - memory_bytes_of(small) == saved


@pytest.mark.parametrize("kind", list(MODELS))
@pytest.mark.parametrize("generated", [True, False])
def test_the_output_is_near(kind: str, generated: bool, tmp_path: Path) -> None:
    own = source_of(tmp_path, kind)
    texts = torch.randint(199, (4, 24), generator=torch.Generator().manual_seed(0))
    reference = make_reference(session_of(own, tmp_path, ["static_cache"]), texts, [12] * 4, 12, 1)
    stack = ["static_cache", "quantize_weights_int8"]
    session = session_of(own, tmp_path, stack)
    assert isinstance(session, DecoderSession)
    if generated:
        session.steps.model = quantized_model(own, tmp_path, generated=True)
    found = verify(
        session,
        reference,
        output_class="near",
        max_loss=0.02,
        batch_size=1,
        text_bytes=1,
        greedy=True,
    )
    assert found.passed, found.reason
    judged = judged_by_distance(found, 0.02, "the weights are random")
    assert judged.passed, judged.reason
    assert found.kl_divergence is not None and found.kl_divergence > 0


def test_other_weights_have_a_file_of_their_own(tmp_path: Path) -> None:
    sources = [make_source(tmp_path / str(seed), LONG_GPT2, seed) for seed in (0, 1)]
    assert sources[0].fingerprint != sources[1].fingerprint
    for each in sources:
        quantized_model(each, tmp_path)
    assert len(list((tmp_path / "quantized").iterdir())) == 2
