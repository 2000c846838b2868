"""Small traces after public reports of people who do this job, with their right values."""

from pathlib import Path

import msgspec
import pytest

from tests.report.trace.test_terminal import words
from topout.records import TraceReport
from topout.report import describe
from topout.report.to_html import to_html
from topout.report.to_terminal import to_terminal
from topout.trace.analysis.breakdown import NO_COPIES
from topout.trace.analysis.groups import Rules, load_rules, shipped_rules
from topout.trace.analysis.report import analyse
from topout.trace.readers.read import read_traces

CASES = Path(__file__).parent / "cases"
VIEWS = [load_rules(), shipped_rules("coarse_groups")]


def report(name: str, rules: Rules = VIEWS[0]) -> TraceReport:
    return analyse(read_traces([CASES / name]), rules)


@pytest.mark.parametrize("rules", VIEWS)
def test_experts_sent_between_devices_are_communication_in_every_view(rules: Rules) -> None:
    """t28: five times 300 µs out, 200 µs of experts' products, 300 µs back."""
    (device,) = report("t28_deepep.json", rules).ranks
    assert device.communication_s == pytest.approx(3.0e-3)
    assert device.compute_s == pytest.approx(1.0e-3)
    assert device.exposed_communication_s == pytest.approx(3.0e-3)
    times = {group.name: group.total_s for group in device.groups}
    moving = "communication" if rules is VIEWS[0] else "memory_mgmt"
    assert times[moving] == pytest.approx(3.0e-3)


def test_the_products_of_experts_are_products() -> None:
    (device,) = report("t28_deepep.json").ranks
    times = {group.name: group.total_s for group in device.groups}
    assert times == pytest.approx({"communication": 3.0e-3, "matrix-mul": 1.0e-3})


@pytest.mark.parametrize("name", ["t12_hpu.json", "t12_mtia.json"])
def test_work_of_other_makers_devices_is_device_work(name: str) -> None:
    """Five times 90 µs, begun 100 µs apart."""
    found = report(name)
    (device,) = found.ranks
    assert device.device == 0
    assert device.busy_s == pytest.approx(450e-6)
    assert device.wall_s == pytest.approx(490e-6)
    assert device.compute_s == pytest.approx(450e-6)


@pytest.mark.parametrize(
    ("name", "format", "step_us", "kernel_us", "group"),
    [
        ("t9_jax.json", "jax_json", 100.5, 90, "matrix-mul"),
        ("t10_rocprof.json", "rocprof_json", 100, 80, "matrix-mul"),
        ("t11_legacy.json", "pytorch_legacy_json", 100, 70, "matrix-mul"),
    ],
)
def test_formats_whose_lanes_say_what_ran(
    name: str, format: str, step_us: float, kernel_us: float, group: str
) -> None:
    """Ten kernels, one after the other."""
    found = report(name)
    assert found.format == format
    (device,) = found.ranks
    assert device.device == 0
    assert device.busy_s == pytest.approx(10 * kernel_us * 1e-6)
    assert device.wall_s == pytest.approx((9 * step_us + kernel_us) * 1e-6)
    assert {each.name: each.calls for each in device.groups} == {group: 10}


def test_kernels_in_a_table_of_rocprofv3() -> None:
    """t13: five times 80 µs, begun 100 µs apart."""
    (device,) = report("t13_rocprofv3_kernel_trace.csv").ranks
    assert device.device == 4
    assert device.busy_s == pytest.approx(400e-6)
    assert device.wall_s == pytest.approx(480e-6)
    assert {each.name: each.calls for each in device.groups} == {"matrix-mul": 5}
    assert device.memory_s is None  # copies have a table of their own
    assert device.reasons["memory_s"] == NO_COPIES


def test_cycles_of_a_profiler_are_no_ranks() -> None:
    """t16d: ranks 0 and 1, each with a file of step 10 and one of step 20."""
    found = report("t16d_two_cycles")
    assert [(each.rank, each.cycle, Path(each.file).name) for each in found.ranks] == [
        (0, 1, "rank0_step10.json"),
        (0, 2, "rank0_step20.json"),
        (1, 1, "rank1_step10.json"),
        (1, 2, "rank1_step20.json"),
    ]
    assert [doubt.about for doubt in found.doubts] == ["clocks"]  # nothing joins the two
    told = words(to_terminal(describe(found)))
    assert "2 ranks, 2 cycles each" in told
    assert "2 devices, 2 cycles each," in told
    page = to_html(describe(found))
    for label in ("rank 0, cycle 1", "rank 0, cycle 2", "rank 1, cycle 1", "rank 1, cycle 2"):
        assert label in told
        assert label in page
    assert b'"cycle":2' in msgspec.json.encode(found)
