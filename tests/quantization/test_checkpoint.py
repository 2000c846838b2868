"""The quantized checkpoint: saved once, loaded bit by bit, made anew where it is damaged."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.generation.tiny_builds import source_of
from topout.models.decoder import Decoder
from topout.models.load import load_decoder
from topout.quantization import checkpoint as quantized_checkpoint
from topout.quantization.checkpoint import QuantizedWeights, load_or_quantize
from topout.quantization.rounding import INT8, Scheme, int4_scheme

SCHEMES = [INT8, int4_scheme(32)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    return load_decoder(source_of(tmp_path_factory.mktemp("model"), "gpt2"))


def same(one: QuantizedWeights, other: QuantizedWeights) -> bool:
    return one.keys() == other.keys() and all(
        type(one[name]) is type(other[name])
        and all(torch.equal(a, b) for a, b in zip(one[name], other[name], strict=True))
        for name in one
    )


def refuse(model: nn.Module, scheme: Scheme) -> QuantizedWeights:
    raise AssertionError("quantized anew")


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda each: each.name)
def test_it_is_made_once_and_loaded_bit_by_bit(
    model: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: Scheme
) -> None:
    first = load_or_quantize(model, tmp_path / "new" / "folder", "f1", scheme)
    monkeypatch.setattr(quantized_checkpoint, "quantize_model", refuse)
    assert same(load_or_quantize(model, tmp_path / "new" / "folder", "f1", scheme), first)
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == [
        f"f1-{scheme.name}.safetensors"
    ]


def test_what_is_loaded_is_aligned_as_the_kernel_needs_it(model: Decoder, tmp_path: Path) -> None:
    """Tensors of a file lie at any multiple of 8 bytes, and the kernel crashes at odd ones."""
    scheme = INT8
    for fingerprint in ("f1", "f12345678", "f123456789abcdef"):
        for _ in range(2):  # made, then loaded
            tensors = load_or_quantize(model, tmp_path, fingerprint, scheme)
            assert {part.data_ptr() % 16 for each in tensors.values() for part in each} == {0}


def cut(path: Path, model: Decoder) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def overwrite(path: Path, model: Decoder) -> None:
    path.write_bytes(b"not a checkpoint")


def take_another_models(path: Path, model: Decoder) -> None:
    """The file of other weights under this name: its fingerprint tells."""
    other = load_or_quantize(model, path.parent, "f2", INT8)
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
    scheme = INT8
    first = load_or_quantize(model, tmp_path, "f1", scheme)
    path = tmp_path / "f1-int8.safetensors"
    good = path.read_bytes()
    damage(path, model)
    assert path.read_bytes() != good
    assert same(load_or_quantize(model, tmp_path, "f1", scheme), first)
    assert metadata_of(path)["fingerprint"] == "f1"  # and saved again
    assert path.stat().st_size == len(good)


def test_a_folder_that_cannot_be_written_costs_only_the_saving(
    model: Decoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scheme = INT8
    (tmp_path / "file").write_text("in the way")
    expected = load_or_quantize(model, tmp_path / "good", "f1", scheme)
    assert same(load_or_quantize(model, tmp_path / "file" / "folder", "f1", scheme), expected)
    assert "not saved" in capsys.readouterr().out
