"""Runs on more and more devices side by side: speedup only where the work is the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trace.analysis.example_traces import (
    ADD,
    Row,
    collective,
    copy,
    kernel,
    operator,
    published,
    trace,
)
from topout.errors import InputError
from topout.records import TraceReport
from topout.trace.analysis.groups import load_rules
from topout.trace.analysis.report import analyse
from topout.trace.analysis.run_work import RunWork, device_shares, scaling
from topout.trace.analysis.runs import groups_over_devices, runs_side_by_side
from topout.trace.table import Device

RULES = load_rules()


def _run(count: int, work: int, reduce: int = 0, **fields: Any) -> TraceReport:
    """Each device computes for `work` ns, then reduces."""
    rows: list[Row] = []
    for device in range(count):
        rows += [kernel(0, work, ADD, device=device)]
        rows += [collective(work, reduce, device=device)] if reduce else []
    return analyse([trace(*rows, **fields)], RULES)


def test_speedup_and_efficiency_over_the_run_on_the_fewest_devices() -> None:
    found = runs_side_by_side([("two", _run(2, 500, 125)), ("one", _run(1, 1000))])
    one, two = found.runs
    assert (one.name, one.devices, two.name, two.devices) == ("one", 1, "two", 2)
    # The longest device took 1000 ns, then 500 + 125; 1000 / 625 = 1.6, over two devices 0.8.
    assert two.speedup == pytest.approx(1.6)
    assert two.efficiency == pytest.approx(0.8)
    assert two.work_ratio == pytest.approx(1.0)
    assert two.wall_s == pytest.approx(625e-9)
    assert two.busy_s == pytest.approx(1250e-9)
    assert two.compute_share == pytest.approx(0.8)
    assert two.communication_share == pytest.approx(0.2)
    assert two.moving_share == pytest.approx(0.2)
    assert two.memory_share == 0
    assert not two.reasons
    assert one.speedup is None and "over this run" in one.reasons["speedup"]


def test_no_speedup_where_the_work_differs() -> None:
    found = runs_side_by_side([("one", _run(1, 100)), ("two", _run(2, 500))])
    two = found.runs[1]
    assert two.speedup is None and two.efficiency is None
    assert two.work_ratio == pytest.approx(10)
    assert "do not hold the same work" in two.reasons["speedup"]
    assert two.reasons["speedup"] == two.reasons["efficiency"]


def test_no_speedup_between_runs_on_as_many_devices() -> None:
    found = runs_side_by_side([("a", _run(2, 500)), ("b", _run(2, 400))])
    assert found.runs[1].speedup is None
    assert "as many devices as a" in found.runs[1].reasons["speedup"]


def test_no_speedup_from_a_summary() -> None:
    found = runs_side_by_side([("one", _run(1, 1000, timed=False)), ("two", _run(2, 500))])
    assert found.runs[1].speedup is None
    assert "a summary does not say how long" in found.runs[1].reasons["speedup"]
    assert any(each.startswith("No speedup is claimed from 1 to 2") for each in found.findings)


def test_work_of_each_device_beside_the_others() -> None:
    shares = device_shares(analyse([published("bert", 4)], RULES).ranks)
    assert [each.device for each in shares] == [0, 1, 2, 3]
    # Device 2: 227996.47 of the median of 393645.78, 446267.41, 433988.95 ms.
    assert shares[2].matrix_ratio == pytest.approx(227996.473690 / 433988.950913)
    assert shares[0].work_s == pytest.approx((120595.109126 + 393645.783055 + 328.071178) / 1e3)
    (alone,) = device_shares(analyse([published("bert", 1)], RULES).ranks)
    assert alone.work_ratio is None and alone.matrix_ratio is None


def test_groups_are_summed_over_devices() -> None:
    ranks = analyse(
        [trace(kernel(0, 60, ADD), copy(60, 20, device=1), kernel(80, 20, ADD, device=1))], RULES
    ).ranks
    groups = groups_over_devices(ranks)
    assert [(each.name, each.calls) for each in groups] == [("element-wise", 2), ("memory", 1)]
    assert groups[0].total_s == pytest.approx(80e-9)
    assert [each.share for each in groups] == [pytest.approx(0.8), pytest.approx(0.2)]
    assert groups[0].examples == [ADD]


def test_a_kernel_that_copies_within_a_device_is_work() -> None:
    cast = "void at::native::unrolled_elementwise_kernel<at::native::copy_device_to_device>"
    report = analyse([trace(kernel(0, 50, cast), copy(50, 50))], RULES)
    run = runs_side_by_side([("a", report), ("b", report)]).runs[0]
    assert run.moving_share == pytest.approx(0.5)
    assert run.work_s == pytest.approx(50e-9)


def test_doubts_name_their_run_and_what_is_unlike() -> None:
    one = _run(1, 100, devices=(Device(0, "V100"),), doubts=("rows were left out",))
    two = _run(2, 50, devices=(Device(0, "A100"),), format="nvprof_csv")
    doubts = {
        each.about: each.sentence for each in runs_side_by_side([("a", one), ("b", two)]).doubts
    }
    assert "rows were left out" in next(text for about, text in doubts.items() if "a, " in about)
    assert "A100, V100" in doubts["devices"]
    assert "kineto, nvprof_csv" in doubts["formats"]


def test_one_run_or_a_host_beside_a_device_is_refused() -> None:
    device, host = _run(1, 10), analyse([trace(operator(0, 10))], RULES)
    with pytest.raises(InputError, match="no two runs"):
        runs_side_by_side([("a", device)])
    with pytest.raises(InputError, match="b holds no work of a device"):
        runs_side_by_side([("a", device), ("b", host)])
    assert len(runs_side_by_side([("a", host), ("b", host)]).runs) == 2


_TIMES = st.floats(1e-6, 1e6)


@given(_TIMES, _TIMES, _TIMES, st.integers(2, 64))
def test_a_speedup_only_stands_where_work_is_alike(
    before: float, after: float, longest: float, devices: int
) -> None:
    def work(count: int, work_s: float, longest_s: float) -> RunWork:
        return RunWork(count, work_s, 0.0, 0.0, longest_s, True, ())

    found = scaling(work(1, before, longest), work(devices, after, longest / 2))
    ratio = after / before
    if 1 / 1.5 <= ratio <= 1.5:
        assert found.speedup == pytest.approx(2.0)
        assert found.efficiency == pytest.approx(2.0 / devices)
    else:
        assert found.speedup is None and found.efficiency is None and found.reason
