"""Sentences over runs on 1, 2 and 4 devices, against the published sums."""

from itertools import permutations

import pytest

from tests.trace.analysis.example_traces import ADD, GROUP_MS, collective, kernel, published, trace
from topout.records.trace import TraceReport
from topout.trace.analysis.groups import Rules, load_rules, shipped_rules
from topout.trace.analysis.report import analyse
from topout.trace.analysis.runs import findings_over_runs

ALL_RULES = [load_rules(), shipped_rules("coarse_groups")]


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


def _run(devices: int, work: int, reduce: int = 0) -> TraceReport:
    rows = []
    for device in range(devices):
        rows += [kernel(0, work, ADD, device=device)]
        rows += [collective(work, reduce, device=device)] if reduce else []
    return analyse([trace(*rows)], ALL_RULES[0])


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
