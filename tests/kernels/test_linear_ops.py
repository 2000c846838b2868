"""Packed weights and their products against PyTorch's own, and as an op of PyTorch's."""

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from topout.errors import InputError, UnsupportedError
from topout.kernels import linear_ops
from topout.kernels.linear_ops import (
    ACTIVATIONS,
    Int4Weight,
    Int8Weight,
    LinearActivation,
    PackedLinear,
    fastest_flags,
    linear_library,
    linear_op,
    pack_float,
    pack_quantized,
)

N, K, GROUP = 70, 96, 32
HALF = ("-DTOPOUT_VECTOR_BYTES=32",)
torch.manual_seed(0)
WEIGHT, BIAS = torch.randn(N, K), torch.randn(N)
INT8 = Int8Weight(torch.randint(-127, 128, (N, K), dtype=torch.int8), torch.rand(N) / 100)
INT4 = Int4Weight(
    torch.randint(0, 256, (N, K // 2), dtype=torch.uint8),
    (torch.rand(N, K // GROUP) / 4).bfloat16(),
    -torch.rand(N, K // GROUP).bfloat16(),
)


def int4_values() -> Tensor:
    values = torch.stack([INT4.values & 15, INT4.values >> 4], dim=-1).reshape(N, -1, GROUP)
    whole = values.float() * INT4.scales.float()[..., None] + INT4.offsets.float()[..., None]
    return whole.reshape(N, K)


# What is packed, the values that it stands for, and how far a product of fp32 may be off.
FORMATS: dict[str, tuple[Callable[..., PackedLinear], Tensor, float]] = {
    "fp32": (lambda **more: pack_float(WEIGHT, "fp32", BIAS, **more), WEIGHT, 1e-5),
    "bf16": (lambda **more: pack_float(WEIGHT, "bf16", BIAS, **more), WEIGHT.bfloat16(), 1e-2),
    "int8": (
        lambda **more: pack_quantized(INT8, BIAS, **more),
        INT8.values.float() * INT8.scales[:, None],
        1e-5,
    ),
    "int4": (lambda **more: pack_quantized(INT4, BIAS, **more), int4_values(), 1e-5),
}
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}
formats = pytest.mark.parametrize("name", list(FORMATS))


def near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    size = float(expected.abs().max())
    torch.testing.assert_close(
        found.double(), expected.double(), atol=tolerance * max(1.0, size), rtol=0
    )


# --- products ---------------------------------------------------------------------------------


@formats
@pytest.mark.parametrize("rows", [1, 3, 8, 9, 50])
@pytest.mark.parametrize("flags", [(), HALF], ids=["wide", "half"])
def test_products_are_those_of_the_values_they_hold(
    name: str, rows: int, flags: tuple[str, ...]
) -> None:
    packing, values, tolerance = FORMATS[name]
    x = torch.randn(rows, K)
    expected = F.linear(x.double(), values.double(), BIAS.double())
    near(packing(flags=flags).multiply(x), expected, tolerance)


@formats
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_epilogues(
    name: str, activation: LinearActivation, gated: bool, dtype: torch.dtype
) -> None:
    packing, values, tolerance = FORMATS[name]
    x = torch.randn(2, 3, K).to(dtype)
    residual = torch.randn(2, 3, N // 2 if gated else N).to(dtype)
    y = F.linear(x.double(), values.double(), BIAS.double())
    if gated:
        gate, up = y.chunk(2, dim=-1)
        expected = FUNCTIONS[activation](gate) * up + residual
    else:
        expected = FUNCTIONS[activation](y) + residual
    packed = packing(gated=gated)
    found = packed.multiply(x, residual, activation=ACTIVATIONS[activation])
    assert found.dtype == dtype and found.shape == residual.shape
    near(found, expected, max(tolerance, 1e-2 if dtype == torch.bfloat16 else 0.0))


@pytest.mark.parametrize("name", ["int8", "int4"])
@pytest.mark.parametrize("rows", [1, 20])
def test_quantized_activations(name: str, rows: int) -> None:
    packing, values, _ = FORMATS[name]
    x = torch.randn(rows, K)
    step = x.abs().amax(1, keepdim=True) / 127
    rounded = (x / step).round() * step
    found = packing().multiply(x, dynamic=True)
    near(found, F.linear(rounded.double(), values.double(), BIAS.double()), 1e-5)
    near(found, F.linear(x.double(), values.double(), BIAS.double()), 0.02)


@formats
def test_a_row_comes_out_the_same_among_few_rows_and_on_any_threads(name: str) -> None:
    packed = FORMATS[name][0]()
    x = torch.randn(8, K)
    together = packed.multiply(x)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            alone = torch.cat([packed.multiply(row[None]) for row in x])
            assert torch.equal(alone, together)
    finally:
        torch.set_num_threads(threads)


@formats
def test_what_is_not_a_number_stays_in_its_row(name: str) -> None:
    packed = FORMATS[name][0]()
    x = torch.randn(4, K)
    clean = packed.multiply(x)
    x[2, 5] = float("nan")
    found = packed.multiply(x)
    assert bool(found[2].isnan().all())
    assert torch.equal(found[[0, 1, 3]], clean[[0, 1, 3]])


def test_strided_tensors_and_weights() -> None:
    packed = pack_float(WEIGHT.t().contiguous().t(), "fp32", BIAS)
    wide = torch.randn(6, K + 5)
    part = wide[::2, 3 : 3 + K]
    near(packed.multiply(part), F.linear(part, WEIGHT, BIAS), 1e-5)
    across = torch.randn(K, 3).t()
    near(packed.multiply(across), F.linear(across, WEIGHT, BIAS), 1e-5)
    residual = torch.randn(3, 2 * N)[:, ::2]
    near(packed.multiply(part, residual), F.linear(part, WEIGHT, BIAS) + residual, 1e-5)


def test_no_rows_and_one_dimension() -> None:
    packed = pack_float(WEIGHT, "fp32", BIAS)
    assert packed.multiply(torch.empty(0, K)).shape == (0, N)
    assert packed.multiply(torch.empty(2, 0, K)).shape == (2, 0, N)
    x = torch.randn(K)
    near(packed.multiply(x), F.linear(x, WEIGHT, BIAS), 1e-5)


@formats
def test_bytes_are_those_of_the_format(name: str) -> None:
    packed = FORMATS[name][0]()
    per_weight = {"fp32": 4, "bf16": 2, "int8": 1, "int4": 0.5 + 4 / GROUP}[name]
    # Columns are filled up to whole panels of 16 to 64, and int8 has a scale and a sum per column.
    assert N * K * per_weight <= packed.bytes <= 128 * (K * per_weight + 8)


def test_every_build_says_what_it_multiplies_with() -> None:
    assert linear_library().instructions.split()[0] in ("avx512", "avx2", "portable")
    assert linear_library(HALF).instructions.split()[0] in ("avx2", "portable")


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x",
    [torch.zeros(2, K + 1), torch.zeros(2, K, dtype=torch.float64), torch.zeros(2, K).half()],
    ids=["width", "double", "half"],
)
def test_unusable_activations_are_refused(x: Tensor) -> None:
    with pytest.raises(InputError, match=f"{K} inputs"):
        pack_float(WEIGHT, "fp32").multiply(x)


def test_an_unusable_residual_is_refused() -> None:
    packed = pack_float(WEIGHT, "fp32")
    for residual in (torch.zeros(2, N + 1), torch.zeros(2, N).bfloat16(), torch.zeros(N)):
        with pytest.raises(InputError, match="residual"):
            packed.multiply(torch.zeros(2, K), residual)


@pytest.mark.parametrize(
    "packing",
    [
        lambda: pack_float(torch.zeros(3), "fp32"),
        lambda: pack_float(WEIGHT, "fp32", torch.zeros(N + 1)),
        lambda: pack_float(torch.zeros(3, 4), "fp32", gated=True),
        lambda: pack_quantized(Int8Weight(torch.zeros(3, 4), torch.ones(3))),
        lambda: pack_quantized(Int8Weight(torch.zeros(3, 4, dtype=torch.int8), torch.ones(4))),
        lambda: pack_quantized(Int8Weight(torch.zeros(1, 70_000, dtype=torch.int8), torch.ones(1))),
        lambda: pack_quantized(INT4._replace(scales=INT4.scales[:, :1])),
        lambda: pack_quantized(INT4._replace(offsets=INT4.offsets[:1])),
    ],
)
def test_weights_that_do_not_fit_are_refused(packing: Callable[[], PackedLinear]) -> None:
    with pytest.raises(InputError, match="cannot be packed"):
        packing()


# --- the op -----------------------------------------------------------------------------------


@formats
def test_the_op_is_sound(name: str) -> None:
    packed = FORMATS[name][0]()
    for x, residual in ((torch.randn(2, 3, K), None), (torch.randn(4, K), torch.randn(4, N))):
        torch.library.opcheck(linear_op, (x, residual, packed.index, N, 2, name[:3] == "int"))


def test_it_can_be_compiled() -> None:
    packed = pack_float(WEIGHT, "fp32", BIAS)

    def both(x: Tensor, residual: Tensor) -> Tensor:
        y: Tensor = linear_op(x + 1, residual, packed.index, N, 1, False)
        return 2 * y

    x, residual = torch.randn(3, K), torch.randn(3, N)
    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, residual), both(x, residual))


def test_there_is_no_backward() -> None:
    packed = pack_float(WEIGHT, "fp32")
    x = torch.randn(2, K, requires_grad=True)
    y = linear_op(x, None, packed.index, N, 0, False)
    with pytest.raises(UnsupportedError, match="no backward"):
        y.sum().backward()


def test_weights_that_are_gone_are_not_used() -> None:
    packed = pack_float(WEIGHT, "fp32")
    index = packed.index
    del packed
    gc.collect()
    with pytest.raises(InputError, match=f"number {index}"):
        linear_op(torch.zeros(1, K), None, index, N, 0, False)


class Library:
    def __init__(self, instructions: str) -> None:
        self.instructions = instructions
        self.path = Path(f"linear-{instructions.split()[0]}.so")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path))
    fastest_flags.cache_clear()
    yield tmp_path
    fastest_flags.cache_clear()


def has(monkeypatch: pytest.MonkeyPatch, wide: str, half_is_faster: bool | None) -> list[str]:
    """A machine of such instructions; `half_is_faster` None: it must not be measured."""
    asked: list[str] = []

    def faster(kind: str, one: object, other: object) -> bool:
        assert half_is_faster is not None, "measured"
        asked.append(kind)
        return half_is_faster

    monkeypatch.setattr(
        linear_ops, "linear_library", lambda flags: Library("avx2" if flags else wide)
    )
    monkeypatch.setattr(linear_ops, "_faster", faster)
    return asked


def test_one_width_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, "avx2 vpdpbusd", None)
    assert fastest_flags("fp32") == ()


@pytest.mark.parametrize("half_is_faster", [True, False])
def test_it_is_measured_once(
    monkeypatch: pytest.MonkeyPatch, cache: Path, half_is_faster: bool
) -> None:
    asked = has(monkeypatch, "avx512 vpdpbusd", half_is_faster)
    expected = HALF if half_is_faster else ()
    assert fastest_flags("int8") == expected
    has(monkeypatch, "avx512 vpdpbusd", None)
    fastest_flags.cache_clear()
    assert fastest_flags("int8") == expected
    assert asked == ["int8"]
    assert [file.suffix for file in (cache / "kernels").iterdir()] == [".json"]


def of_another_cpu(file: Path) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | {"cpu": "another"}))


def cut(file: Path) -> None:
    file.write_text(file.read_text()[:-5])


def of_another_form(file: Path) -> None:
    file.write_text("[1, 2]")


@pytest.mark.parametrize("damage", [of_another_cpu, cut, of_another_form])
def test_what_does_not_hold_is_measured_again(
    monkeypatch: pytest.MonkeyPatch, cache: Path, damage: Callable[[Path], None]
) -> None:
    has(monkeypatch, "avx512", True)
    fastest_flags("fp32")
    damage(next((cache / "kernels").iterdir()))
    asked = has(monkeypatch, "avx512", False)
    fastest_flags.cache_clear()
    assert fastest_flags("fp32") == () and asked == ["fp32"]


def test_formats_are_measured_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = has(monkeypatch, "avx512", True)
    fastest_flags("fp32")
    fastest_flags("bf16")
    assert asked == ["fp32", "bf16"]


def test_the_comparison_itself_runs() -> None:
    for kind in ("fp32", "bf16", "int8", "int4"):
        assert linear_ops._faster(kind, (), HALF) in (True, False)  # type: ignore[arg-type]
