"""Rounding weights: how far they are off, in int8 and in int4."""

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.generation.tiny_builds import source_of
from topout.kernels.linear_ops import Int4Weight, Int8Weight
from topout.models.decoder import Decoder
from topout.models.load import load_decoder
from topout.quantization import rounding
from topout.quantization.rounding import (
    INT8,
    QuantizedWeights,
    Scheme,
    int4_scheme,
    load_or_quantize,
    quantize_in_groups,
    quantize_per_channel,
)

matrices = (
    st.integers(1, 6)
    .flatmap(
        lambda k: st.lists(
            st.lists(st.floats(-1e3, 1e3, width=32), min_size=k, max_size=k), min_size=1, max_size=5
        )
    )
    .map(lambda rows: torch.tensor(rows, dtype=torch.float32))
)
SCHEMES = [INT8, int4_scheme(32)]


def restored(weight: Int4Weight) -> Tensor:
    """The values [N, K] in fp32 that 4-bit weights stand for."""
    n, k = weight.values.shape[0], 2 * weight.values.shape[1]
    values = torch.stack([weight.values & 15, weight.values >> 4], dim=-1).reshape(n, k)
    groups = values.reshape(n, k // weight.group, weight.group).float()
    scaled = groups * weight.scales.float()[..., None] + weight.offsets.float()[..., None]
    return scaled.reshape(n, k)


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


# --- int4 in groups ---------------------------------------------------------------------------


def test_four_bits_by_hand() -> None:
    # From 0 to 30 in steps of 2: each value is its own half, the scale 2, the offset 0.
    weight = torch.arange(0, 32, 2).float().repeat(2)[None]
    found = quantize_in_groups(weight, 32)
    assert found.group == 32
    assert found.scales.tolist() == [[2.0]] and found.offsets.tolist() == [[0.0]]
    # Two to a byte, the low one first: 0 and 1, 2 and 3, …
    assert found.values[0, :8].tolist() == [16 * (2 * i + 1) + 2 * i for i in range(8)]
    assert torch.equal(restored(found), weight)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([32, 64, 128]), st.floats(-3, 3))
def test_a_group_is_not_far_off(seed: int, group: int, middle: float) -> None:
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, 128, generator=random) + middle
    found = quantize_in_groups(weight, group)
    error = (restored(found) - weight).reshape(3, -1, group)
    groups = weight.reshape(3, -1, group)
    step = (groups.amax(-1) - groups.amin(-1)) / 15
    # Rounding in steps of the full range leaves step²/12 on average; offsets have 8 bits.
    offset = groups.abs().amax(-1) * 2**-8
    assert bool((error.square().mean(-1) <= (step / 2).square() + offset.square()).all())


def test_a_narrower_range_is_taken_where_it_is_nearer() -> None:
    torch.manual_seed(0)
    weight = torch.randn(1, 64)
    weight[0, 0] = 8.0  # one far out
    found = quantize_in_groups(weight, 64)
    full = (weight.max() - weight.min()) / 15
    assert float(found.scales[0, 0]) < 0.99 * float(full)


def test_a_group_of_one_value_and_of_zeros() -> None:
    weight = torch.cat([torch.full((1, 32), 0.5), torch.zeros(1, 32)], dim=1)
    found = quantize_in_groups(weight, 32)
    assert torch.equal(restored(found), weight)


def test_large_matrices_go_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from topout.quantization import rounding as quantization

    torch.manual_seed(0)
    weight = torch.randn(7, 64)
    whole = quantize_in_groups(weight, 32)
    monkeypatch.setattr(quantization, "_ROWS_AT_ONCE", 128)
    pieces = quantize_in_groups(weight, 32)
    assert all(torch.equal(one, other) for one, other in zip(whole, pieces, strict=True))


def test_what_int4_leaves_to_int8() -> None:
    scheme = int4_scheme(64)
    assert isinstance(scheme.quantize("blocks.0.mlp.up", torch.zeros(4, 128)), Int4Weight)
    assert isinstance(scheme.quantize("head", torch.zeros(4, 128)), Int8Weight)
    assert isinstance(scheme.quantize("blocks.0.mlp.up", torch.zeros(4, 40)), Int8Weight)
    narrow = scheme.quantize("blocks.0.mlp.up", torch.zeros(4, 96))
    assert isinstance(narrow, Int4Weight) and narrow.group == 32


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
    monkeypatch.setattr(rounding, "quantize_model", refuse)
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


def make_a_scale_infinite(path: Path, model: Decoder) -> None:
    tensors = load_file(path)
    tensors["head.scales"].view(-1)[0] = float("inf")
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
        make_a_scale_infinite,
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
