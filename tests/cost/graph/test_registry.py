"""Formulas that a user registers."""

from collections.abc import Iterator

import pytest
import torch

from topout.cost.graph import Call, OpWork, count, forget_formula, register_formula
from topout.cost.graph.formula import formulas_of, op_name
from topout.errors import InputError

from .one_op import meta


@torch.library.custom_op("topout_tests::scan", mutates_args=())
def scan(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (value @ weight).cumsum(0)


@scan.register_fake
def _(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return value.new_empty(value.shape[0], weight.shape[1])


@pytest.fixture
def formula() -> Iterator[None]:
    def work(call: Call) -> OpWork:
        rows, inner = call.shape("value")
        columns = call.shape("weight")[1]
        return OpWork(flops=2 * rows * inner * columns, other_flops=rows * columns)

    register_formula(scan, work)
    yield
    forget_formula(scan)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_custom_op_is_listed_with_its_module(device: str) -> None:
    class Layer(torch.nn.Module):
        def forward(self, value: torch.Tensor) -> torch.Tensor:
            return scan(scan(value, value), value) + value @ value

    model = torch.nn.Sequential(Layer())
    counted = count(model, torch.ones(4, 4, device=device))
    (missing,) = counted.not_counted
    assert (missing.name, missing.module, missing.calls) == ("topout_tests::scan", "0", 2)
    assert "register_formula" in missing.reason
    assert missing.bytes == 2 * 64 + 3 * 64  # at first both arguments are the same tensor
    # What surrounds it is counted; what runs inside is not seen.
    assert counted.total.flops == 2 * 4 * 4 * 4
    assert counted.complete


@pytest.mark.usefixtures("formula")
def test_a_registered_formula_counts_it() -> None:
    counted = count(scan, meta(3, 4), meta(4, 5))
    assert counted.not_counted == []
    assert (counted.total.flops, counted.total.other_flops) == (120, 15)
    assert counted.rows[0].family == "custom"
    # 12 + 20 numbers in, 15 out.
    assert counted.total.bytes == 4 * 47


def test_a_formula_may_be_a_number_and_say_what_is_read() -> None:
    register_formula("topout_tests::scan", lambda call: 7)
    assert count(scan, meta(3, 4), meta(4, 5)).total.flops == 7
    register_formula(
        torch.ops.topout_tests.scan, lambda call: OpWork(read_bytes={"weight": 1, "value": 2})
    )
    assert count(scan, meta(3, 4), meta(4, 5)).total.read_bytes == 3
    forget_formula(scan)
    assert len(count(scan, meta(3, 4), meta(4, 5)).not_counted) == 1


def test_a_users_formula_goes_before_the_built_in_one() -> None:
    register_formula(torch.ops.aten.mm, lambda call: 1)
    try:
        assert count(torch.mm, meta(3, 4), meta(4, 5)).total.flops == 1
    finally:
        forget_formula("aten::mm")
    assert count(torch.mm, meta(3, 4), meta(4, 5)).total.flops == 120


def test_a_formula_that_fails_is_said_and_ends_nothing() -> None:
    register_formula(scan, lambda call: call.tensor("no such argument").numel())
    try:
        counted = count(scan, meta(3, 4), meta(4, 5))
    finally:
        forget_formula(scan)
    assert counted.complete
    (missing,) = counted.not_counted
    assert "its formula failed" in missing.reason
    assert "no such argument" in missing.reason


def test_names() -> None:
    assert op_name(torch.ops.aten.mm) == "aten::mm"
    assert op_name(torch.ops.aten.mm.out) == "aten::mm.out"
    assert op_name(scan) == "topout_tests::scan"
    assert op_name("a::b") == "a::b"


@pytest.mark.parametrize("wrong", ["mm", 3, torch.mm])
def test_what_names_no_op_is_refused(wrong: object) -> None:
    with pytest.raises(InputError, match="op"):
        register_formula(wrong, lambda call: 0)


def test_forgetting_what_was_never_registered() -> None:
    with pytest.raises(InputError, match="aten::bmm"):
        forget_formula("aten::bmm")


def test_two_built_in_formulas_for_one_op_are_a_fault() -> None:
    with pytest.raises(AssertionError, match="aten::mm"):
        formulas_of("product", "mm", lambda call: OpWork())
