"""How ops are sorted before they are counted."""

import pytest
import torch

from topout.cost.graph.plan import plan_of

aten = torch.ops.aten


@pytest.mark.parametrize(
    "op",
    [aten.view.default, aten.detach.default, aten.t_.default, aten.empty.memory_format],
)
def test_free(op: torch._ops.OpOverload) -> None:
    plan = plan_of(op)
    assert plan.free
    assert plan.formula is None


@pytest.mark.parametrize(
    "op", [aten.linear.default, aten.matmul.default, aten.reshape.default, aten.einsum.default]
)
def test_taken_apart(op: torch._ops.OpOverload) -> None:
    assert plan_of(op).decomposes


def test_arguments_that_are_written() -> None:
    in_place, into = plan_of(aten.add_.Tensor), plan_of(aten.add.out)
    assert (in_place.changed, in_place.ignored) == ({"self"}, frozenset())
    assert (into.changed, into.ignored) == ({"out"}, {"out"})
    assert plan_of(aten.add.Tensor).changed == frozenset()


def test_families() -> None:
    for op, family in (
        (aten.mm.out, "product"),
        (aten.addmm_.default, "product"),
        (aten.tanh_.default, "elementwise"),
        (aten._foreach_sqrt.default, "elementwise"),
        (aten._foreach_norm.Scalar, "reduction"),
        (aten.view_copy.default, "movement"),
    ):
        formula = plan_of(op).formula
        assert formula is not None
        assert formula.family == family


def test_unknown() -> None:
    plan = plan_of(aten._fft_r2c.default)
    assert plan.formula is None
    assert not plan.free
    assert not plan.decomposes


def test_arguments_by_name() -> None:
    plan = plan_of(aten.addmm.default)
    assert plan.bind((1, 2, 3), {"beta": 4}) == {"self": 1, "mat1": 2, "mat2": 3, "beta": 4}


def test_ops_that_need_values() -> None:
    assert plan_of(aten._local_scalar_dense.default).needs_values
    assert plan_of(aten.nonzero.default).needs_values
    assert not plan_of(aten.mm.default).needs_values
