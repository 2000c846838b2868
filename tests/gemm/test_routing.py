"""PyTorch's products through our versions: right in every layout, and nothing left behind."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import topout.gemm
from topout.errors import InputError, UnknownNameError
from topout.gemm import routing as routing_module
from topout.kernels.gemm_ops import GEMM_FOLDER

VERSION = "tiled"
OWN_SOURCE = """
#include "gemm.h"
void gemm(const Input* a, const Input* b, Output* c, std::int64_t m, std::int64_t n,
          std::int64_t k, std::int64_t lda, std::int64_t ldb, std::int64_t ldc, int) {
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      Output sum = FIRST;
      for (std::int64_t p = 0; p < k; ++p) sum += a[i * lda + p] * b[p * ldb + j];
      c[i * ldc + j] = sum;
    }
}
"""


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    assert routing_module._active == () and routing_module._table is None


def bound(a: Tensor, b: Tensor) -> Tensor:
    """|Ĉ − C| allowed, elementwise, with room for the roundings of an epilogue."""
    return (a.shape[1] + 4) * 2.0**-24 * (a.double().abs() @ b.double().abs()) + 1e-30


@st.composite
def matrices(draw: Any, rows: int, columns: int) -> Tensor:
    """[rows × columns] in some layout: transposed, sliced, stepped, expanded, unaligned."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    layout = draw(st.sampled_from(["rows", "columns", "wide", "stepped", "both", "offset", "one"]))
    if layout == "columns":
        return torch.randn(columns, rows, generator=generator).t()
    if layout == "wide":
        return torch.randn(rows, columns + 3, generator=generator)[:, 1 : columns + 1]
    if layout == "stepped":
        return torch.randn(rows, 2 * columns, generator=generator)[:, ::2]
    if layout == "both":
        return torch.randn(2 * columns, 3 * rows, generator=generator)[::2, ::3].t()
    if layout == "offset":
        return torch.randn(rows * columns + 1, generator=generator)[1:].view(rows, columns)
    if layout == "one":
        return torch.randn(1, columns, generator=generator).expand(rows, columns)
    return torch.randn(rows, columns, generator=generator)


@st.composite
def products(draw: Any) -> tuple[Tensor, Tensor]:
    m, n, k = (draw(st.integers(1, 20)) for _ in range(3))
    return draw(matrices(m, k)), draw(matrices(k, n))


@settings(max_examples=150, deadline=None)
@given(products())
def test_mm_is_right_in_every_layout(pair: tuple[Tensor, Tensor]) -> None:
    a, b = pair
    with topout.gemm.use(VERSION) as routed:
        c = torch.mm(a, b)
    assert routed.routed == 1 and not routed.passed
    assert c.is_contiguous() and c.dtype == torch.float32
    assert ((c - a.double() @ b.double()).abs() <= bound(a, b)).all()


@settings(max_examples=150, deadline=None)
@given(products(), st.data())
def test_addmm_is_right_with_every_summand_and_factor(
    pair: tuple[Tensor, Tensor], data: st.DataObject
) -> None:
    a, b = pair
    m, n = a.shape[0], b.shape[1]
    shape = data.draw(st.sampled_from([(n,), (1, n), (m, 1), (1,), (), (m, n)]))
    addend = torch.randn(shape)
    beta = data.draw(st.sampled_from([0, 1, 0.5, -2]))
    alpha = data.draw(st.sampled_from([1, 1.0, -0.25, 3, 0]))
    given_out = data.draw(st.sampled_from(["none", "empty", "rows", "columns", "addend"]))
    outs = {
        "none": None,
        "empty": torch.empty(0),
        "rows": torch.full((m, n), torch.nan),
        "columns": torch.full((n, m), torch.nan).t(),
        "addend": addend if addend.shape == (m, n) else None,
    }
    out = outs[given_out]
    exact = beta * addend.double() + alpha * (a.double() @ b.double())
    allowed = 4 * bound(a, b) + 2.0**-22 * (addend.double().abs() + exact.abs())
    with topout.gemm.use(VERSION) as routed:
        c = torch.addmm(addend, a, b, beta=beta, alpha=alpha, out=out)
    assert out is None or c.data_ptr() == out.data_ptr()
    assert ((c - exact).abs() <= allowed).all()
    assert routed.passed == ({"alpha = 0": 1} if alpha == 0 else {})


def test_beta_zero_does_not_read_the_summand() -> None:
    a, b = torch.randn(3, 4), torch.randn(4, 5)
    out = torch.full((3, 5), torch.nan)
    with topout.gemm.use(VERSION) as routed:
        result = torch.addmm(torch.full((5,), torch.nan), a, b, beta=0)
        torch.addmm(out, a, b, beta=0, out=out)
    assert routed.routed == 2
    assert torch.isfinite(result).all() and torch.isfinite(out).all()


def test_what_is_not_a_number_reaches_its_row_alone() -> None:
    a, b = torch.randn(9, 33), torch.randn(33, 17)
    a[4, 7] = torch.nan
    with topout.gemm.use(VERSION):
        c = a @ b
    assert torch.isnan(c[4]).all()
    assert torch.isfinite(c[torch.arange(9) != 4]).all()


def test_an_out_that_is_an_operand_is_right() -> None:
    a, b = torch.randn(6, 6), torch.randn(6, 6)
    expected = a.double() @ b.double()
    with topout.gemm.use(VERSION):
        torch.mm(a, b, out=a)
    torch.testing.assert_close(a.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("operands", "reason"),
    [
        ((torch.ones(2, 3, dtype=torch.float64), torch.ones(3, 2, dtype=torch.float64)), "fp64"),
        ((torch.ones(2, 3, dtype=torch.bfloat16), torch.ones(3, 2, dtype=torch.bfloat16)), "bf16"),
        ((torch.ones(2, 3, dtype=torch.int64), torch.ones(3, 2, dtype=torch.int64)), "int64"),
        ((torch.ones(0, 3), torch.ones(3, 2)), "empty"),
        ((torch.ones(2, 0), torch.ones(0, 2)), "empty"),
        ((torch.ones(4, 2, 3), torch.ones(4, 3, 2)), "batched"),
        ((torch.ones(2, 3), torch.ones(3)), "matrix times vector"),
    ],
)
def test_others_fall_through_and_are_counted(operands: tuple[Tensor, Tensor], reason: str) -> None:
    expected = torch.matmul(*operands)
    with topout.gemm.use(VERSION) as routed:
        found = torch.matmul(*operands)
    assert torch.equal(found, expected)
    assert (routed.routed, routed.passed) == (0, {reason: 1})
    assert f"1 × {reason}" in routed.summary()


@pytest.mark.parametrize("fault", ["shapes", "types", "out"])
def test_errors_are_pytorchs_own(fault: str) -> None:
    a, b = torch.ones(2, 3), torch.ones(4 if fault == "shapes" else 3, 2)
    if fault == "types":
        b = b.double()
    options = {"out": torch.empty(2, 2, dtype=torch.float64)} if fault == "out" else {}

    def message() -> str:
        with pytest.raises(RuntimeError) as raised:
            torch.mm(a, b, **options)
        return str(raised.value)

    expected = message()
    with topout.gemm.use(VERSION):
        assert message() == expected


def test_an_exception_leaves_pytorch_as_it_was() -> None:
    with pytest.raises(KeyError), topout.gemm.use(VERSION) as routed:
        raise KeyError
    torch.ones(2, 2) @ torch.ones(2, 2)
    assert routed.routed == 0


def test_of_nested_blocks_the_innermost_that_can_takes_the_product() -> None:
    fp32, bf16 = torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bfloat16)
    with topout.gemm.use("loop_order") as outer:
        with topout.gemm.use(VERSION) as inner:
            fp32 @ fp32
            bf16 @ bf16
        fp32 @ fp32
        with outer:
            fp32 @ fp32
        fp32 @ fp32
    assert (inner.routed, inner.passed) == (1, {"bf16": 1})
    assert (outer.routed, outer.passed) == (3, {"bf16": 1})


def test_blocks_may_be_left_in_another_order() -> None:
    first, second = topout.gemm.use("loop_order"), topout.gemm.use(VERSION)
    a = torch.ones(2, 2)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    a @ a
    second.__exit__(None, None, None)
    a @ a
    assert (first.routed, second.routed) == (0, 1)


def test_every_thread_is_routed_and_right() -> None:
    pairs = [(torch.randn(20, 30), torch.randn(30, 40)) for _ in range(4)]
    found: dict[int, Tensor] = {}

    def work(at: int) -> None:
        for _ in range(25):
            found[at] = pairs[at][0] @ pairs[at][1]

    with topout.gemm.use(VERSION) as routed:
        threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert routed.routed == 100
    for at, (a, b) in enumerate(pairs):
        assert ((found[at] - a.double() @ b.double()).abs() <= bound(a, b)).all()


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 7, bias=False))


def test_gradients_are_right_and_routed_too() -> None:
    model, x = small_model(), torch.randn(3, 5, 12, requires_grad=True)

    def gradients() -> list[Tensor]:
        return list(torch.autograd.grad(model(x).square().mean(), [x, *model.parameters()]))

    expected = gradients()
    with topout.gemm.use(VERSION) as routed:
        found = gradients()
    assert routed.routed == 2 + 4 and not routed.passed
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("shape", [(12,), (1, 12), (4, 12), (2, 3, 12)])
def test_linear_layers_are_routed_without_gradients(mode: Any, shape: tuple[int, ...]) -> None:
    model, x = small_model(), torch.randn(shape)
    with mode():
        expected = model(x)
        with topout.gemm.use(VERSION) as routed:
            found = model(x)
    assert routed.routed == 2 and not routed.passed
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_tensors_made_in_inference_mode_are_taken() -> None:
    with torch.inference_mode():
        a, b, out = torch.randn(4, 5), torch.randn(5, 6), torch.empty(4, 6)
        with topout.gemm.use(VERSION, constant=[b]) as routed:
            torch.mm(a, b, out=out)
            b.mul_(2)
            torch.mm(a, b, out=out)
    assert routed.routed == 2
    torch.testing.assert_close(out, (a.double() @ b.double()).float(), rtol=1e-5, atol=1e-5)


def test_function_transforms_are_right() -> None:
    a, b = torch.randn(3, 4, 5), torch.randn(5, 6)

    def loss(each: Tensor) -> Tensor:
        return torch.mm(each, b).square().sum()

    def both() -> list[Tensor]:
        vectors = torch.func.vmap(torch.func.grad(loss))(a)
        _, tangent = torch.func.jvp(loss, (a[0],), (torch.ones_like(a[0]),))
        return [vectors, torch.func.vmap(loss)(a), tangent, torch.func.jacrev(loss)(a[0])]

    expected = both()
    with topout.gemm.use(VERSION) as routed:
        found = both()
    assert routed.routed > 0
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_meta_and_fake_tensors_are_not_touched() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with topout.gemm.use(VERSION) as routed:
        assert (torch.empty(2, 3, device="meta") @ torch.empty(3, 4, device="meta")).is_meta
        with FakeTensorMode():
            assert (torch.empty(2, 3) @ torch.empty(3, 4)).shape == (2, 4)
    assert (routed.routed, routed.passed) == (0, {})


def test_compiled_functions_run_their_products_through_it() -> None:
    torch._dynamo.reset()
    model, x = small_model(), torch.randn(4, 12)
    expected = model(x)
    compiled = torch.compile(model, backend="aot_eager")
    with topout.gemm.use(VERSION) as routed:
        torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-6)
    assert routed.routed == 2


def test_a_negated_view_is_right() -> None:
    a = torch.randn(3, 4, dtype=torch.complex64).conj().imag
    assert a.is_neg()
    b = torch.randn(4, 5)
    with topout.gemm.use(VERSION):
        c = a @ b
    torch.testing.assert_close(c, (a.double() @ b.double()).float(), rtol=1e-5, atol=1e-5)


def test_autocast_asks_for_bf16() -> None:
    a, b = torch.randn(3, 4), torch.randn(4, 5)
    with topout.gemm.use(VERSION) as routed, torch.autocast("cpu", dtype=torch.bfloat16):
        a @ b
    assert routed.passed == {"bf16": 1}


def test_sparse_products_are_pytorchs() -> None:
    a, b = torch.eye(3).to_sparse(), torch.randn(3, 4)
    with topout.gemm.use(VERSION):
        assert torch.equal(a @ b, b)


class TestBf16:
    def test_the_sum_is_rounded_once(self) -> None:
        """1 + 2⁻⁹ + 2⁻⁹ is 1 + 2⁻⁸ in fp32; rounded after each step it would stay 1."""
        a = torch.tensor([[1.0, 2.0**-9]], dtype=torch.bfloat16)
        b = torch.tensor([[1.0], [1.0]], dtype=torch.bfloat16)
        addend = torch.tensor([2.0**-9 + 2.0**-8], dtype=torch.bfloat16)
        with topout.gemm.use("bf16") as routed:
            c = torch.addmm(addend, a, b)
        assert routed.routed == 1 and c.dtype == torch.bfloat16
        assert c.item() == torch.tensor(1 + 2.0**-8 + 2.0**-8).bfloat16().item()

    def test_it_is_the_rounded_exact_product_but_for_one_unit(self) -> None:
        a, b = torch.randn(17, 64).bfloat16(), torch.randn(33, 64).bfloat16().t()
        bias = torch.randn(33).bfloat16()
        exact = bias.double() + a.double() @ b.double()
        with topout.gemm.use("bf16") as routed:
            c = torch.addmm(bias, a, b)
            out = torch.addmm(bias, a, b, out=torch.empty(17, 33, dtype=torch.bfloat16))
        assert routed.routed == 2 and torch.equal(c, out)
        allowed = 2.0**-8 * exact.abs() + bound(a, b)
        assert ((c.double() - exact).abs() <= allowed).all()


class TestConstantWeights:
    @pytest.mark.parametrize("version", [VERSION, "prepacked"])
    def test_a_weight_is_laid_out_once_and_its_changes_are_noticed(self, version: str) -> None:
        layer, x = nn.Linear(24, 40), torch.randn(6, 24)
        with torch.no_grad():
            with topout.gemm.use(version, constant=layer.parameters()) as routed:
                for _ in range(2):
                    torch.testing.assert_close(layer(x), reference(layer, x))
                assert not routed.copied
                layer.weight.mul_(2)
                torch.testing.assert_close(layer(x), reference(layer, x))
                layer.weight.data = torch.randn(40, 24)  # other memory, not named
                torch.testing.assert_close(layer(x), reference(layer, x))
            assert routed.routed == 4

    def test_part_of_a_weight_is_not_taken_for_the_whole(self) -> None:
        weight, x = torch.randn(30, 24), torch.randn(6, 24)
        with topout.gemm.use("prepacked", constant=[weight]) as routed:
            for part in (weight, weight[10:20], weight[:10], weight[:, :12]):
                found = x[:, : part.shape[1]] @ part.t()
                exact = x[:, : part.shape[1]].double() @ part.double().t()
                torch.testing.assert_close(found, exact.float(), rtol=1e-5, atol=1e-5)
        assert routed.routed == 4

    def test_what_was_not_named_is_never_remembered(self) -> None:
        layer, x = nn.Linear(24, 40), torch.randn(6, 24)
        with torch.no_grad(), topout.gemm.use("prepacked") as routed:
            layer(x)
            layer.weight.data.mul_(2)
            torch.testing.assert_close(layer(x), reference(layer, x))
        assert routed.routed == 2


def reference(layer: nn.Linear, x: Tensor) -> Tensor:
    return (x.double() @ layer.weight.double().t() + layer.bias.double()).float()


class TestOwnSource:
    def test_a_file_of_the_users_takes_pytorchs_place(self, tmp_path: Path) -> None:
        source = tmp_path / "my.cpp"
        source.write_text(OWN_SOURCE.replace("FIRST", "0"))
        a, b = torch.randn(5, 6), torch.randn(6, 7)
        for choice in ({"version": source}, {"source": str(source)}):
            with topout.gemm.use(**choice) as routed:
                torch.testing.assert_close(a @ b, (a.double() @ b.double()).float())
            assert routed.routed == 1 and "my.cpp" in routed.summary()

    def test_it_is_really_that_file_that_runs(self, tmp_path: Path) -> None:
        source = tmp_path / "my.cpp"
        source.write_text(OWN_SOURCE.replace("FIRST", "1"))
        with topout.gemm.use(source=source):
            assert (torch.zeros(2, 3) @ torch.zeros(3, 2) == 1).all()

    def test_a_file_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no\.cpp"):
            topout.gemm.use(source=tmp_path / "no.cpp")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"version": "int8"}, "int8"),
        ({"version": VERSION, "threads": 0}, "0 threads"),
        ({"version": VERSION, "dtype": "bf16"}, "not of bf16"),
        ({"version": VERSION, "source": GEMM_FOLDER / "naive.cpp"}, "one product"),
        ({}, "one product"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        topout.gemm.use(**arguments)


def test_the_nearest_version_is_offered() -> None:
    with pytest.raises(UnknownNameError, match="tiled"):
        topout.gemm.use("tilde")


def test_the_number_of_threads_is_pytorchs_unless_given() -> None:
    a = torch.ones(2, 2)
    counts: list[int] = []
    for threads in (None, 1):
        routing = topout.gemm.use(VERSION, threads=threads)
        multiply = routing._product._library.multiply

        class Watched:
            offers_packing = False

            @staticmethod
            def multiply(*operands: int) -> None:
                counts.append(operands[-1])
                multiply(*operands)

        routing._product._library = Watched()  # type: ignore[assignment]
        with routing:
            a @ a
    assert counts == [torch.get_num_threads(), 1]
