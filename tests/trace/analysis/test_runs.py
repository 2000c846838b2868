"""Runs on more and more devices side by side: speedup only where the work is the same."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.trace.test_terminal import words
from tests.trace.analysis.example_traces import (
    ADD,
    GROUP_MS,
    Row,
    collective,
    copy,
    kernel,
    operator,
    published,
    trace,
)
from topout.errors import InputError
from topout.records.trace import TraceReport
from topout.report import describe
from topout.report.to_terminal import to_terminal
from topout.trace.analysis.groups import Rules, load_rules, shipped_rules
from topout.trace.analysis.report import analyse
from topout.trace.analysis.runs import (
    RunWork,
    device_shares,
    findings_over_runs,
    groups_over_devices,
    runs_side_by_side,
    scaling,
)
from topout.trace.table import Device

RULES = load_rules()
ALL_RULES = [load_rules(), shipped_rules("coarse_groups")]


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


def test_copies_that_were_not_recorded_are_unknown() -> None:
    known, unknown = _run(1, 1000), _run(2, 500, holds_copies=False)
    found = runs_side_by_side([("known", known), ("unknown", unknown)])
    assert [run.memory_share for run in found.runs] == [0.0, None]
    assert words(to_terminal(describe(found))).count("copies and fills 0.0 % –") == 1


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
    assert "Rows were left out." in next(text for about, text in doubts.items() if "a, " in about)
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
        return RunWork(count, work_s, 0.0, 0.0, longest_s, True, True, ())

    found = scaling(work(1, before, longest), work(devices, after, longest / 2))
    ratio = after / before
    if 1 / 1.5 <= ratio <= 1.5:
        assert found.speedup == pytest.approx(2.0)
        assert found.efficiency == pytest.approx(2.0 / devices)
    else:
        assert found.speedup is None and found.efficiency is None and found.reason


def _reports(workload: str, rules: Rules) -> list[TraceReport]:
    return [analyse([published(workload, devices)], rules) for devices in (1, 2, 4)]


def _said(reports: list[TraceReport], words: str) -> list[str]:
    return [sentence for sentence in findings_over_runs(reports) if words in sentence]


@pytest.mark.parametrize("rules", ALL_RULES, ids=lambda rules: rules.source)
@pytest.mark.parametrize("workload", sorted(GROUP_MS))
def test_the_published_sums_are_kept(workload: str, rules: Rules) -> None:
    for devices, report in zip((1, 2, 4), _reports(workload, rules), strict=True):
        for each, sums in zip(report.ranks, GROUP_MS[workload][devices], strict=True):
            work = {group.name: group.total_s * 1e3 for group in each.groups}
            assert work["matrix-mul"] == pytest.approx(sums[1], abs=1e-5)
            assert sum(work.values()) == pytest.approx(sum(sums))


@pytest.mark.parametrize("rules", ALL_RULES, ids=lambda rules: rules.source)
def test_communication_grows_with_the_devices(rules: Rules) -> None:
    # BERT: 28987 of 1628175 ms on one device; 1147016 of 3033922 on four.
    (bert,) = _said(_reports("bert", rules), "Communication and copies")
    assert "1.8 % on 1 device, 5.8 % on 2 devices, 37.8 % on 4 devices" in bert
    assert bert.endswith("the share grows with the number of devices.")
    # DistilGPT2: 414 of 11040; 47659 of 142325.
    (distil,) = _said(_reports("distilgpt2", rules), "Communication and copies")
    assert "3.7 % on 1 device" in distil
    assert "33.5 % on 4 devices (30 % to 35 % by device)" in distil


@pytest.mark.parametrize("rules", ALL_RULES, ids=lambda rules: rules.source)
def test_device_two_of_four_does_about_half_the_matrix_work(rules: Rules) -> None:
    (said,) = _said(_reports("bert", rules), "the matrix-mul work")
    assert said.startswith("Device 2 of the run on 4 devices does about half (0.525×)")
    assert not _said(_reports("distilgpt2", rules), "the matrix-mul work")


@pytest.mark.parametrize("rules", ALL_RULES, ids=lambda rules: rules.source)
def test_no_speedup_where_runs_do_not_hold_the_same_work(rules: Rules) -> None:
    reports = _reports("distilgpt2", rules)
    (one_to_two,) = _said(reports, "from 1 to 2 devices")
    assert one_to_two.startswith("No speedup is claimed from 1 to 2 devices: the runs do not hold")
    assert "(8.65×)" in one_to_two
    assert _said(reports, "from 1 to 4 devices")[0].startswith("No speedup is claimed")
    assert "The speedup from 2 to 4 devices is 1.44×" in _said(reports, "from 2 to 4 devices")[0]


def test_scaling_that_is_not_linear() -> None:
    # The longest devices of BERT: 1628175 ms alone, 837047 ms of four.
    (said,) = _said(_reports("bert", ALL_RULES[0]), "from 1 to 4 devices")
    assert "1.95×" in said
    assert "efficiency of 49 %: scaling is not linear" in said
    assert "4 min 47 s on communication and copies against 29.0 s" in said


def test_the_order_of_reports_does_not_matter() -> None:
    reports = _reports("distilgpt2", ALL_RULES[0])
    first = findings_over_runs(reports)
    assert all(findings_over_runs(list(order)) == first for order in permutations(reports))


def test_linear_scaling_is_called_so() -> None:
    (said,) = _said([_run(1, 1000), _run(2, 500)], "The speedup")
    assert "2.00×" in said
    assert "linear or better" in said
    (nearly,) = _said([_run(1, 1000), _run(2, 500, 30)], "The speedup")
    assert "nearly linear" in nearly


def test_work_that_grows_with_the_devices_is_no_speedup() -> None:
    (said,) = _said([_run(1, 1000), _run(4, 1000)], "No speedup")
    assert "a problem that grows with the devices (4.00×)" in said


def test_more_speedup_than_devices_is_doubted() -> None:
    (said,) = _said([_run(1, 1000), _run(2, 400)], "The speedup")
    assert "more than devices alone explain" in said


def test_runs_that_cannot_be_compared_give_no_sentence_on_scaling() -> None:
    assert findings_over_runs([]) == []
    assert findings_over_runs([_run(1, 100)]) == []
    assert findings_over_runs([_run(2, 100), _run(2, 100)]) == []
