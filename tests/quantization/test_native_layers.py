"""Decoders and other models with native linear layers: near what they were, smaller, compilable."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GPT2Config
from transformers.pytorch_utils import Conv1D

from tests.generation.tiny_builds import MODELS, source_of
from topout.errors import InputError, UnknownNameError, UnsupportedError
from topout.generation.session import memory_bytes_of
from topout.models.decoder import Decoder
from topout.models.load import load_decoder
from topout.quantization.native_layers import (
    NATIVE_FORMATS,
    NativeBlock,
    NativeLinear,
    NativeMlp,
    swap_decoder_layers,
    swap_linears,
)
from topout.quantization.rounding import linear_layers

# The root mean square error over the spread of the logits, of models so small that it is large.
NEAR = {"fp32": 1e-5, "bf16": 0.02, "int8": 0.04, "int8_dynamic": 0.06, "int4": 0.35}
formats = pytest.mark.parametrize("name", list(NATIVE_FORMATS))
kinds = pytest.mark.parametrize("kind", list(MODELS))


def decoder_of(kind: str, folder: Path, name: str | None = None) -> Decoder:
    model = load_decoder(source_of(folder, kind))
    return model if name is None else swap_decoder_layers(model, NATIVE_FORMATS[name], None)


def logits_of(model: Decoder, tokens: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model(tokens, torch.arange(tokens.shape[1]))
    return logits


def error_of(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).square().mean().sqrt() / expected.std())


@formats
@kinds
def test_logits_stay_near(kind: str, name: str, tmp_path: Path) -> None:
    tokens = torch.randint(199, (2, 12), generator=torch.Generator().manual_seed(0))
    expected = logits_of(decoder_of(kind, tmp_path), tokens)
    found = logits_of(decoder_of(kind, tmp_path, name), tokens)
    assert error_of(found, expected) <= NEAR[name]
    assert name == "fp32" or error_of(found, expected) > 1e-5  # it did round


@kinds
def test_every_linear_layer_is_replaced(kind: str, tmp_path: Path) -> None:
    model = decoder_of(kind, tmp_path, "int8")
    assert linear_layers(model) == []
    native = [part for part in model.modules() if isinstance(part, NativeLinear)]
    assert len(native) == 4 * model.config.layers + 1
    assert all(isinstance(block, NativeBlock) for block in model.blocks)
    assert sum(isinstance(part, NativeMlp) for part in model.modules()) == model.config.layers


def test_packed_weights_count_as_memory(tmp_path: Path) -> None:
    plain = decoder_of("gpt2", tmp_path)
    in_layers = sum(layer.weight.numel() for _, layer in linear_layers(plain))
    head = plain.head.weight.numel()
    small = decoder_of("gpt2", tmp_path, "int8")
    kept = memory_bytes_of(plain) - 4 * (in_layers - head)  # the tied embedding keeps its own
    biases = sum(layer.bias.numel() for _, layer in linear_layers(plain) if layer.bias is not None)
    packed = memory_bytes_of(small) - (kept - 4 * biases)
    assert in_layers <= packed <= 4 * in_layers  # tiny matrices are filled up to whole panels


@kinds
def test_it_compiles_to_the_same(kind: str, tmp_path: Path) -> None:
    model = decoder_of(kind, tmp_path, "int8_dynamic")
    tokens = torch.randint(199, (1, 6))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)
    assert error_of(logits_of(compiled, tokens), logits_of(model, tokens)) <= 1e-5  # type: ignore[arg-type]


def test_what_it_is_can_be_read(tmp_path: Path) -> None:
    shown = repr(decoder_of("gpt2", tmp_path, "int8_dynamic").head)
    assert "int8" in shown and "activations int8" in shown


# --- any model --------------------------------------------------------------------------------


@pytest.fixture
def hugging_face() -> nn.Module:
    torch.manual_seed(0)
    config = GPT2Config(n_embd=64, n_head=4, n_layer=2, n_positions=64, vocab_size=199)
    return AutoModelForCausalLM.from_config(config).eval()


@formats
def test_a_model_of_hugging_face(name: str, hugging_face: nn.Module) -> None:
    tokens = torch.randint(199, (2, 12), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = hugging_face(tokens).logits
        count = sum(isinstance(part, Conv1D) for part in hugging_face.modules())
        assert count == 4 * 2
        assert swap_linears(hugging_face, name) == count + 1
        assert not any(isinstance(part, Conv1D | nn.Linear) for part in hugging_face.modules())
        assert error_of(hugging_face(tokens).logits, expected) <= NEAR[name]


def test_what_cannot_be_swapped(hugging_face: nn.Module) -> None:
    with pytest.raises(UnknownNameError, match="int8_dynamic"):
        swap_linears(hugging_face, "int8_dynamc")
    with pytest.raises(InputError, match="training"):
        swap_linears(hugging_face.train())
    with pytest.raises(UnsupportedError, match="no linear layer"):
        swap_linears(nn.LayerNorm(3).eval())
    nothing = nn.Sequential(nn.Linear(0, 3), nn.Linear(3, 3)).eval()
    assert swap_linears(nothing) == 1
    assert isinstance(nothing[0], nn.Linear) and isinstance(nothing[1], NativeLinear)
