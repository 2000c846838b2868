"""Samples to records: ratios pair by pair, the step before, the best rival, efficiency."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.gemm.case import Case
from topout.gemm.results import Outcome, shape_of, with_parallel_efficiency
from topout.gemm.rounds import FULL, QUICK
from topout.gemm.timing import Roofs
from topout.records.gemm import GemmResult, GemmShape

CASE = Case(10, 10, 10, "fp32", 2)  # 2000 FLOP, 1200 bytes
ROOFS = {0: Roofs(8000.0, 100.0), 1: Roofs(4000.0, 100.0)}


def measured(name: str, *samples_s: float, rival: bool = False, packed: bool = False) -> Outcome:
    return Outcome(name, rival, packed, samples_s=dict(enumerate(samples_s)))


def shape(*outcomes: Outcome, case: Case = CASE, ridge_point: float = 80.0) -> GemmShape:
    return shape_of(case, outcomes, ROOFS, ridge_point, {})


def named(record: GemmShape, name: str) -> GemmResult:
    return next(each for each in [*record.versions, *record.rivals] if each.name == name)


def test_rates_and_shares_by_hand() -> None:
    record = shape(measured("naive", 1.0, 2.0))
    result = named(record, "naive")
    assert result.flops_per_s is not None and result.flops_per_s.median == 1500
    assert result.of_ceiling == pytest.approx(0.25)  # 2000 of 8000, and 1000 of 4000
    assert result.samples_s == [1.0, 2.0]
    assert record.ceiling_flops_per_s is not None and record.read_bytes_per_s is not None
    assert record.ceiling_flops_per_s.median == 6000


@pytest.mark.parametrize(("ridge_point", "bound"), [(1.0, "compute"), (2.0, "memory")])
def test_the_bound_is_the_lower_roof(ridge_point: float, bound: str) -> None:
    # 2000 FLOP / 1200 bytes = 1.67
    assert shape(measured("naive", 1.0), ridge_point=ridge_point).bound == bound


def test_the_step_before_is_the_nearest_that_was_measured() -> None:
    tiled = Outcome("tiled")
    tiled.fail("it is wrong")
    record = shape(
        measured("naive", 8.0, 8.0),
        measured("loop_order", 4.0),
        tiled,
        measured("packed", 1.0, 2.0),
    )
    packed = named(record, "packed")
    assert packed.over_previous is not None and packed.over_previous.pairs == [4.0]
    assert packed.over_naive is not None and packed.over_naive.pairs == [8.0, 4.0]
    failed = named(record, "tiled")
    assert (failed.status, failed.reason, failed.flops_per_s) == ("failed", "it is wrong", None)


def test_rivals_are_of_the_same_kind() -> None:
    record = shape(
        measured("simd", 1.0),
        measured("prepacked", 1.0, packed=True),
        measured("slow", 4.0, rival=True),
        measured("quick", 2.0, rival=True),
        measured("packs", 0.5, rival=True, packed=True),
    )
    for name, speedup in (("simd", 2.0), ("prepacked", 0.5)):
        ratio = named(record, name).over_best_rival
        assert ratio is not None and ratio.median == pytest.approx(speedup)
    assert named(record, "quick").over_best_rival is None
    assert named(record, "quick").over_previous is None


def test_who_has_no_samples_is_not_measured() -> None:
    assert named(shape(Outcome("naive")), "naive").status == "skipped"
    late = measured("naive", 1.0)
    late.fail("it crashed")
    assert named(shape(late), "naive").samples_s == []


def test_efficiency_needs_the_same_shape_on_one_thread() -> None:
    one = shape(measured("naive", 4.0), case=msgspec.structs.replace(CASE, threads=1))
    two = shape(measured("naive", 2.5), measured("tiled", 1.0))
    other = shape(measured("naive", 1.0), case=Case(9, 9, 9, "fp32", 2))
    first, second, third = with_parallel_efficiency([one, two, other])
    assert named(first, "naive").parallel_efficiency == 1
    assert named(second, "naive").parallel_efficiency == pytest.approx(4.0 / 2.5 / 2)
    assert named(second, "tiled").parallel_efficiency is None
    assert named(third, "naive").parallel_efficiency is None


@given(st.floats(1e-9, 1e3))
def test_effort_is_bounded(product_s: float) -> None:
    for effort in (QUICK, FULL):
        rounds, repeats = effort.rounds_of(product_s), effort.repeats(product_s)
        assert 1 <= rounds <= effort.rounds and 1 <= repeats <= 10_000
        assert rounds == 1 or rounds * repeats * product_s <= effort.budget_s * (1 + 1e-9)
