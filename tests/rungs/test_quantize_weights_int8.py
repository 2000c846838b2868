"""int8 weights: how far they are off, what is saved, and what is made anew."""

import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.models.tiny import make_source
from topout.models.decoder import Decoder
from topout.models.load import load_decoder
from topout.models.source import ModelSource
from topout.rungs import quantize_weights_int8
from topout.rungs.generate_gemv import GenerateGemv, most_rows
from topout.rungs.quantize_weights_int8 import (
    QuantizeWeightsInt8,
    WeightOnlyInt8Linear,
    linear_layers,
    load_or_quantize,
    quantize_per_channel,
)
from topout.rungs.rung import memory_bytes_of
from topout.rungs.session import DecoderSession
from topout.rungs.verify import make_reference, verify

from .tiny_builds import LONG_GPT2, MODELS, build_of, session_of, source_of


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return source_of(tmp_path_factory.mktemp("model"), "gpt2")


@pytest.fixture
def model(source: ModelSource) -> Decoder:
    return load_decoder(source)


# --- rounding ---------------------------------------------------------------------------------

matrices = (
    st.integers(1, 6)
    .flatmap(
        lambda k: st.lists(
            st.lists(st.floats(-1e3, 1e3, width=32), min_size=k, max_size=k), min_size=1, max_size=5
        )
    )
    .map(lambda rows: torch.tensor(rows, dtype=torch.float32))
)


@settings(max_examples=50, deadline=None)
@given(matrices)
def test_no_weight_is_off_by_more_than_half_a_step(weight: Tensor) -> None:
    quantized, scales = quantize_per_channel(weight)
    assert quantized.dtype == torch.int8 and scales.dtype == torch.float32
    assert quantized.shape == weight.shape and scales.shape == weight.shape[:1]
    assert int(quantized.abs().max()) <= 127
    error = (weight.double() - quantized.double() * scales.double()[:, None]).abs()
    # Half a step, and the rounding of fp32 in weight / scale.
    assert bool((error <= scales.double()[:, None] * (0.5 + 1e-4)).all())


def test_weights_too_small_for_a_step_become_zeros() -> None:
    quantized, scales = quantize_per_channel(torch.tensor([[1.6465e-42, -1e-42]]))
    assert quantized.tolist() == [[0, 0]] and scales.tolist() == [1.0]


def test_steps_by_hand() -> None:
    quantized, scales = quantize_per_channel(torch.tensor([[1.27, -0.5, 0.004], [0.0, 0.0, 0.0]]))
    # 1.27 / 127 = 0.01 a step: 127, −50 and 0.4, which rounds to 0. A channel of zeros has step 1.
    assert quantized.tolist() == [[127, -50, 0], [0, 0, 0]]
    torch.testing.assert_close(scales, torch.tensor([0.01, 1.0]))


def test_each_channel_has_a_step_of_its_own() -> None:
    quantized, scales = quantize_per_channel(torch.tensor([[1e-3, -2e-3], [1e3, 5e2]]))
    assert quantized.abs().amax(dim=1).tolist() == [127, 127]
    torch.testing.assert_close(scales, torch.tensor([2e-3 / 127, 1e3 / 127]))


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
    reference = make_reference(session_of(own, tmp_path, ["static_cache"]), texts, 12, 1)
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
    assert found.kl_divergence is not None and found.kl_divergence > 0


# --- the saved checkpoint ---------------------------------------------------------------------


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def refuse(model: nn.Module) -> dict[str, Tensor]:
    raise AssertionError("quantized anew")


def test_it_is_made_once_and_loaded_bit_by_bit(
    model: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_or_quantize(model, tmp_path / "new" / "folder", "f1")
    monkeypatch.setattr(quantize_weights_int8, "quantize_model", refuse)
    assert same(load_or_quantize(model, tmp_path / "new" / "folder", "f1"), first)
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == [
        "f1-int8.safetensors"
    ]


def test_what_is_loaded_is_aligned_as_the_kernel_needs_it(model: Decoder, tmp_path: Path) -> None:
    """Tensors of a file lie at any multiple of 8 bytes, and the kernel crashes at odd ones."""
    for fingerprint in ("f1", "f12345678", "f123456789abcdef"):
        for _ in range(2):  # made, then loaded
            tensors = load_or_quantize(model, tmp_path, fingerprint)
            assert {each.data_ptr() % 16 for each in tensors.values()} == {0}


def cut(path: Path, model: Decoder) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def overwrite(path: Path, model: Decoder) -> None:
    path.write_bytes(b"not a checkpoint")


def take_another_models(path: Path, model: Decoder) -> None:
    """The file of other weights under this name: its fingerprint tells."""
    other = load_or_quantize(model, path.parent, "f2")
    assert other
    shutil.copy(path.with_name("f2-int8.safetensors"), path)


def forget_the_format(path: Path, model: Decoder) -> None:
    save_file(load_file(path), path, {"fingerprint": "f1"})


def change_a_shape(path: Path, model: Decoder) -> None:
    tensors = load_file(path) | {"head.weight": torch.zeros(3, 3, dtype=torch.int8)}
    save_file(tensors, path, metadata_of(path))


def change_a_type(path: Path, model: Decoder) -> None:
    tensors = load_file(path)
    save_file(tensors | {"head.weight": tensors["head.weight"].float()}, path, metadata_of(path))


def lose_a_weight(path: Path, model: Decoder) -> None:
    tensors = load_file(path)
    del tensors["head.weight"]
    save_file(tensors, path, metadata_of(path))


def lose_the_scales(path: Path, model: Decoder) -> None:
    tensors = load_file(path)
    del tensors["head.scales"]
    save_file(tensors, path, metadata_of(path))


def metadata_of(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata: dict[str, str] = file.metadata()
    return metadata


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        overwrite,
        take_another_models,
        forget_the_format,
        change_a_shape,
        change_a_type,
        lose_a_weight,
        lose_the_scales,
    ],
)
def test_what_is_damaged_is_made_anew(damage, model: Decoder, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first = load_or_quantize(model, tmp_path, "f1")
    path = tmp_path / "f1-int8.safetensors"
    good = path.read_bytes()
    damage(path, model)
    assert path.read_bytes() != good
    assert same(load_or_quantize(model, tmp_path, "f1"), first)
    assert metadata_of(path)["fingerprint"] == "f1"  # and saved again
    assert same(load_file(path), first)


def test_other_weights_have_a_file_of_their_own(tmp_path: Path) -> None:
    sources = [make_source(tmp_path / str(seed), LONG_GPT2, seed) for seed in (0, 1)]
    assert sources[0].fingerprint != sources[1].fingerprint
    for each in sources:
        quantized_model(each, tmp_path)
    assert len(list((tmp_path / "quantized").iterdir())) == 2


def test_a_folder_that_cannot_be_written_costs_only_the_saving(
    model: Decoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    expected = load_or_quantize(model, tmp_path / "good", "f1")
    assert same(load_or_quantize(model, tmp_path / "file" / "folder", "f1"), expected)
    assert "not saved" in capsys.readouterr().out
