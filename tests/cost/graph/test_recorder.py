"""What comes out of the dispatcher: higher-order ops, subclasses, layouts, transforms."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.two_tensor import TwoTensor

from topout.cost.graph import count
from topout.cost.graph.recorder import plan_of, stand_in

from .one_op import flops_by_phase


def test_ops_of_sparse_tensors_are_not_mistaken_for_dense_ones() -> None:
    sparse = torch.eye(4).to_sparse()
    counted = count(torch.mm, sparse, torch.ones(4, 4))
    assert counted.total.flops == 0
    (missing,) = counted.not_counted
    assert missing.name == "aten::mm"
    assert "sparse" in missing.reason
    # Two indices of 8 bytes and a number for each of 4 entries; 16 numbers in, 16 out.
    assert missing.bytes == 4 * (16 + 4) + 64 + 64


def test_a_subclass_is_counted_by_what_it_runs() -> None:
    """As quantized weights do it: the subclass says which ops on plain tensors an op is."""
    both = TwoTensor(torch.ones(4, 4), torch.ones(4, 4))
    counted = count(torch.mm, both, both)
    assert counted.total.flops == 2 * 128
    assert counted.not_counted == []


def test_nested_tensors_are_counted_by_their_tokens() -> None:
    rows = torch.nested.nested_tensor([torch.ones(2, 8), torch.ones(3, 8)], layout=torch.jagged)
    assert count(nn.Linear(8, 4), rows).total.flops == 2 * 5 * 8 * 4


def test_fake_tensors_stand_for_plain_ones() -> None:
    with FakeTensorMode():
        layer, value = nn.Linear(8, 4), torch.ones(2, 8)
        inside = count(layer, value)
    assert inside.total.flops == count(layer, value).total.flops == 128


def test_the_branch_that_is_taken() -> None:
    def run(value: torch.Tensor) -> torch.Tensor:
        return torch.cond(value.sum() > 0, lambda x: x @ x, lambda x: x + 1, (value,))

    assert count(run, torch.ones(4, 4)).total.flops == 128
    assert count(run, -torch.ones(4, 4)).total.flops == 0


def test_other_higher_order_ops_are_listed() -> None:
    from torch._higher_order_ops.map import map_impl

    def run(values: torch.Tensor) -> object:
        return map_impl(lambda x: (x @ x,), (values,), ())

    (missing,) = count(run, torch.ones(3, 4, 4)).not_counted
    assert missing.name == "higher_order::map_impl"
    assert "higher-order" in missing.reason


def test_transforms() -> None:
    gradient = torch.func.grad(lambda value, weight: (value @ weight).sum())
    each = torch.func.vmap(gradient)
    counted = count(each, torch.ones(3, 4), torch.ones(3, 4, 5))
    # Three products of a row and a matrix, and those of their gradients.
    assert flops_by_phase(counted) == {"forward": 120, "backward": 120}


def test_an_op_that_looks_at_nothing_moves_nothing() -> None:
    counted = count(lambda x: F.dropout(x, 0.0, training=False), torch.ones(3))
    assert counted.total.bytes == 0


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


_OFFS = torch.tensor([8, 16], dtype=torch.int32)


@pytest.mark.parametrize(
    ("left", "right", "offs"),
    [
        ((16, 32), (2, 32, 48), _OFFS),  # groups of rows
        ((2, 32, 48), (48, 16), _OFFS),  # of columns
        ((32, 16), (16, 48), _OFFS),  # of inner elements
        ((2, 16, 32), (2, 32, 48), None),
    ],
)
def test_grouped_products(
    left: tuple[int, ...], right: tuple[int, ...], offs: torch.Tensor | None
) -> None:
    one, two = (torch.ones(shape, dtype=torch.bfloat16) for shape in (left, right))
    real = torch._grouped_mm(one, two, offs=offs)
    run = stand_in("aten::_grouped_mm", (one.to("meta"),))
    assert run is not None
    result = run(one.to("meta"), two.to("meta"), offs)
    assert (result.shape, result.dtype) == (real.shape, real.dtype)
    assert result.device.type == "meta"


def test_real_tensors_and_other_ops_run_themselves() -> None:
    assert stand_in("aten::_grouped_mm", (torch.ones(1),)) is None
    assert stand_in("aten::mm", (torch.ones(1, device="meta"),)) is None
