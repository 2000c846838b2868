"""What was launched and not recorded is unknown: not idle, and nothing is concluded from it."""

import pytest
from msgspec.structs import replace

from tests.trace.analysis.example_traces import (
    Row,
    call,
    collective,
    copy,
    kernel,
    mark,
    operator,
    rank,
    trace,
)
from topout.records.trace import DeviceTime
from topout.report.trace.document import trace_document
from topout.report.trace.measures import time_measures
from topout.report.trace.time_charts import time_parts
from topout.trace.analysis.breakdown import break_down
from topout.trace.analysis.diff import diff
from topout.trace.analysis.findings import findings_of, unlike_devices
from topout.trace.analysis.groups import load_rules
from topout.trace.analysis.report import analyse, device_report
from topout.trace.analysis.runs import run_work, scaling
from topout.trace.table import Trace

RULES = load_rules()
GRAPH = "cudaGraphLaunch"


def launched(at: int, length: int, number: int, name: str = "cudaLaunchKernel") -> list[Row]:
    """A call, and its kernel 20 later."""
    return [call(at, 5, name, correlation=number), kernel(at + 20, length, correlation=number)]


def replays(recorded: list[int], count: int = 100) -> Trace:
    """Replays of a captured graph, one every 1000, of which some have their kernel of 900."""
    rows = [call(1000 * n, 9, GRAPH, correlation=n + 1) for n in range(count)]
    kernels = [kernel(1000 * n + 50, 900, correlation=n + 1) for n in recorded]
    return trace(*rows, *kernels)


def only(of: Trace) -> DeviceTime:
    (found,) = device_report(of, RULES)
    return found


def ns(value: float | None) -> int | None:
    return None if value is None else round(value * 1e9)


def test_replays_of_a_graph_without_kernels_are_unknown_and_no_advice_follows() -> None:
    report = analyse([replays([0, 99])], RULES)
    (device,) = report.ranks
    assert (ns(device.wall_s), ns(device.busy_s)) == (99_900, 1_800)
    assert (device.idle_s, ns(device.unknown_s), device.utilization) == (None, 98_100, None)
    assert device.idle == [] and device.critical_path == []
    said = device.reasons["idle_s"]
    assert said.startswith("No work of a device is recorded for 98 of 100 cudaGraphLaunch: for ")
    assert device.reasons["idle"] == device.reasons["critical_path"] == said
    (doubt,) = report.doubts
    assert (doubt.about, doubt.sentence) == ("example.json", said)
    assert "--cuda-graph-trace=node" in doubt.remedy
    words = " ".join(report.findings)
    assert "idle" not in words and "helps" not in words and "critical path" not in words


def test_what_is_unknown_is_shown_so() -> None:
    report = analyse([replays([0, 99])], RULES)
    (device,) = report.ranks
    document = trace_document(report)
    assert document.headlines == [
        "In 99.9 µs GPU 0 is busy for at least 2 % of the time (computing 2 %), for 98 % nothing "
        "is known."
    ]
    assert [tile.name for tile in document.tiles][-1] == "not recorded"
    assert time_parts(device)["not recorded"] == pytest.approx(98_100e-9)
    assert sum(time_parts(device).values()) == pytest.approx(device.wall_s)
    shown = {measure.name: measure.text(0) for measure in time_measures(report.ranks)}
    assert shown["Not recorded"] == "0.0981 (98 %)"
    assert "Idle" not in shown


def test_a_whole_recording_has_nothing_unknown() -> None:
    device = only(replays(list(range(100))))
    assert (ns(device.idle_s), device.unknown_s) == (99 * 100, 0.0)
    assert not {"unknown_s", "idle_s"} & device.reasons.keys()
    assert "not recorded" not in time_parts(device)
    assert "Not recorded" not in {measure.name for measure in time_measures([device])}


def test_the_gap_of_one_lost_kernel_is_unknown_and_the_others_are_idle() -> None:
    """Launched every 1000, 500 long; the third of ten is lost."""
    rows = [row for n in range(10) for row in launched(1000 * n, 500, n + 1)]
    whole = only(trace(*rows))
    lost = [row for row in rows if not (row["kind"] == "kernel" and row["correlation"] == 3)]
    found = only(trace(*lost))
    assert ns(whole.idle_s) == 9 * 500
    # It ran after its call at 2000, and before the next began at 3020.
    assert (ns(found.unknown_s), ns(found.idle_s)) == (1020, 9 * 500 + 500 - 1020)
    assert ns(found.busy_s) == 9 * 500
    assert ns(found.busy_s + found.idle_s + found.unknown_s) == ns(found.wall_s)
    assert sum(cause.total_s for cause in found.idle) == pytest.approx(found.idle_s)
    assert found.utilization == pytest.approx(found.busy_s / found.wall_s)


def test_what_a_queue_hides_does_not_make_its_gaps_unknown() -> None:
    """The host is far ahead: all calls before the first kernel ends."""
    calls = [call(10 * n, 5, correlation=n + 1) for n in range(10)]
    kernels = [kernel(1000 + 100 * n, 60, correlation=n + 1) for n in range(10) if n != 4]
    found = only(trace(*calls, *kernels))
    # Between the end of the fourth at 1360 and the start of the sixth at 1500; the 7 others of 40.
    assert (ns(found.unknown_s), ns(found.idle_s)) == (140, 7 * 40)


def test_where_more_is_unknown_than_idle_all_of_it_is() -> None:
    calls = [call(10 * n, 5, correlation=n + 1) for n in range(10)]
    kernels = [kernel(1000 + 100 * n, 95, correlation=n + 1) for n in range(10) if n != 4]
    found = only(trace(*calls, *kernels))
    # 105 where the fifth was lost, and 7 gaps of 5.
    assert (ns(found.unknown_s), found.idle_s) == (105 + 7 * 5, None)


def test_launches_at_the_edges_of_a_recording_are_no_loss() -> None:
    """The last ones had not run when it ended, and the first kernels were launched before."""
    rows = [row for n in range(10) for row in launched(1000 * n, 500, n + 1)]
    after = [call(9600 + n, 5, correlation=100 + n) for n in range(5)]
    before = kernel(5, 10, correlation=77)
    found = only(trace(*rows, *after, before))
    assert found.unknown_s == 0.0


def test_records_that_stop_before_the_recording_does() -> None:
    """A buffer that overflowed: after 10 of 30 steps launches are recorded and no work."""
    rows: list[Row] = []
    for step in range(30):
        at = 10_000 * step
        rows.append(mark(at, 9_900, f"ProfilerStep#{step}"))
        for n in range(5):
            rows += launched(at + 1000 * n, 900, 100 * step + n + 1)
        rows.append(call(at + 4_500, 600, "cudaDeviceSynchronize"))
    for lacks in (range(10, 30), range(20)):
        kept = [
            row for row in rows
            if row["kind"] != "kernel" or (row["correlation"] - 1) // 100 not in lacks
        ]  # fmt: skip
        found = only(trace(*kept))
        assert found.unknown_s == 0.0
        assert found.reasons["unknown_s"].startswith(
            "No work of a device is recorded for 100 of 150 cudaLaunchKernel: of "
        )
        # The path is of a step of which work is recorded.
        assert {part.name for part in found.critical_path} & {"matrix-mul"}
    report = analyse([trace(*kept)], RULES)
    assert [each.sentence for each in report.doubts] == [found.reasons["unknown_s"]]


def test_many_lost_kernels_are_told_however_short() -> None:
    rows = [row for n in range(100) for row in launched(1000 * n, 20, n + 1)]
    lost = [
        row for row in rows
        if row["kind"] != "kernel" or row["correlation"] % 10 or row["correlation"] == 100
    ]  # fmt: skip
    hidden = [*lost, kernel(0, 99_500, "graph", stream=9, correlation=1)]
    found = only(trace(*hidden))
    assert found.unknown_s == 0.0  # the device was busy all the time
    assert found.reasons["unknown_s"] == (
        "No work of a device is recorded for 9 of 100 cudaLaunchKernel: calls and sums of kernels "
        "are too low."
    )


def test_launches_into_a_stream_that_is_captured_run_nothing() -> None:
    capture = [
        call(600, 5, "cudaStreamBeginCapture_v10000"),
        *(call(610 + 10 * n, 5, correlation=500 + n) for n in range(20)),
        call(900, 5, "cudaStreamEndCapture_v10000"),
    ]
    rows = [row for n in range(10) for row in launched(1000 * n, 500, n + 1)]
    assert only(trace(*rows, *capture)).unknown_s == 0.0
    launches = [row for row in capture if "correlation" in row]
    assert only(trace(*rows, *launches)).unknown_s > 0
    # A recording that begins in the middle of a capture, and one that ends there.
    for part, at in ((capture[1:], -900), (capture[:-1], 8_900)):
        moved = [row | {"start_ns": row["start_ns"] + at} for row in part]
        assert "unknown_s" not in only(trace(*rows, *moved)).reasons


def test_of_a_runtime_call_around_a_driver_call_one_has_the_work() -> None:
    for outer_has_it in (True, False):
        rows: list[Row] = []
        for n in range(10):
            outer, inner = (2 * n + 1, 2 * n + 2)
            rows += [
                call(1000 * n, 20, "cudaLaunchKernel", correlation=outer),
                call(1000 * n + 5, 10, "cuLaunchKernel", correlation=inner),
                kernel(1000 * n + 50, 500, correlation=outer if outer_has_it else inner),
            ]
        assert only(trace(*rows)).unknown_s == 0.0
        lost = [row for row in rows if row["start_ns"] != 4050]
        found = only(trace(*lost))
        assert found.unknown_s > 0
        assert "1 of 10 cudaLaunchKernel" in found.reasons["unknown_s"]


def test_copies_count_as_work_and_host_functions_are_no_launch() -> None:
    rows = [row for n in range(10) for row in launched(1000 * n, 500, n + 1)]
    graph_of_copies = [call(20, 5, GRAPH, correlation=80), copy(600, 100, correlation=80)]
    more = [call(2500, 5, "cudaLaunchHostFunc", correlation=81)]
    assert only(trace(*rows, *graph_of_copies, *more)).unknown_s == 0.0


def test_without_joined_calls_nothing_is_said_of_what_is_missing() -> None:
    rows = [call(1000 * n, 5, correlation=n + 1) for n in range(10)]
    kernels = [kernel(1000 * n + 20, 500) for n in range(10)]
    assert only(trace(*rows, *kernels)).unknown_s == 0.0


def test_work_without_a_call_may_be_what_a_call_without_work_launched() -> None:
    """Kernels of replays that carry no correlation, as some profilers write them."""
    rows = [row for n in range(10) for row in launched(1000 * n, 100, n + 1)]
    graphs = [call(1000 * n + 200, 5, GRAPH, correlation=50 + n) for n in range(10)]
    for unjoined in (None, 0, 900):
        kernels = [kernel(1000 * n + 300, 100, correlation=unjoined) for n in range(10)]
        assert only(trace(*rows, *graphs, *kernels)).unknown_s == 0.0
        assert only(trace(*rows, *graphs, *kernels[:9])).unknown_s > 0


def test_launches_without_any_work_of_a_device_leave_the_host_unknown() -> None:
    """All records of the device were out of the profiler's range."""
    rows = [operator(1000 * n, 300) for n in range(10)]
    calls = [call(1000 * n + 10, 5, correlation=n + 1) for n in range(10)]
    report = analyse([trace(*rows, *calls)], RULES)
    (host,) = report.ranks
    assert (host.device, ns(host.busy_s), host.idle_s, ns(host.unknown_s)) == (-1, 3000, None, 6300)
    assert host.critical_path == []
    assert report.doubts[0].sentence.startswith("10 calls launch work of a device, and none of it")
    assert not any("idle" in sentence for sentence in report.findings)
    (alone,) = analyse([trace(*rows)], RULES).ranks
    assert (ns(alone.idle_s), alone.unknown_s) == (6300, 0.0)
    assert alone.critical_path


def test_a_thread_that_never_launches_on_a_device_takes_nothing_from_it() -> None:
    rows = [row for n in range(10) for row in launched(1000 * n, 500, n + 1)]
    other = [call(1000 * n + 300, 5, thread=2, correlation=50 + n) for n in range(10)]
    on_other = kernel(9_990, 5, device=1, correlation=50)
    zero, one = device_report(trace(*rows, *other, on_other), RULES)
    assert zero.unknown_s == 0.0
    assert one.unknown_s == 0.0  # of its one kernel there is no gap


def _steps(with_work: list[int], count: int = 6, operators: int = 10) -> Trace:
    rows: list[Row] = []
    for step in range(count):
        at = 10_000 * step
        rows.append(mark(at, 9_900, f"ProfilerStep#{step}"))
        rows += [operator(at + 500 * n, 300) for n in range(operators if step == 2 else 10)]
        if step in with_work:
            for n in range(5):
                rows += launched(at + 1000 * n, 900, 100 * step + n + 1)
    return trace(*rows)


def test_steps_with_operators_and_no_work_of_the_device_are_unknown() -> None:
    found = only(_steps([0, 1, 3, 4, 5]))
    assert found.reasons["unknown_s"].startswith(
        "1 of 6 steps were run as the others, and have no work of a device (ProfilerStep#2): "
    )
    assert ns(found.unknown_s) == 9_900
    assert found.critical_path  # of another step
    assert sum(part.total_s for part in found.critical_path) < 11_000e-9


def test_steps_of_a_trace_without_operators_of_which_the_marks_alone_are_there() -> None:
    rows = [
        row for row in _steps([0, 1, 3, 4, 5]).events.to_dicts() if row["kind"] != "cpu_op"
    ]  # fmt: skip
    assert ns(only(trace(*rows)).unknown_s) == 9_900
    asked = call(25_000, 5, "cudaEventQuery")  # the host waited for something
    assert only(trace(*rows, asked)).unknown_s == 0.0


def test_a_step_that_did_nothing_is_idle() -> None:
    assert only(_steps([0, 1, 3, 4, 5], operators=2)).unknown_s == 0.0
    assert only(_steps([0, 1, 2, 3, 4, 5])).unknown_s == 0.0


def test_devices_of_a_recording_that_is_not_whole_are_not_held_against_each_other() -> None:
    whole = rank(0, *(row for n in range(20) for row in launched(1000 * n, 900, n + 1)))
    rows = [row for n in range(20) for row in launched(1000 * n, 900, n + 1)]
    halved = [
        row
        for row in rows
        if row["kind"] != "kernel" or row["correlation"] % 2 or row["correlation"] == 20
    ]
    report = analyse([whole, rank(1, *halved)], RULES)
    assert report.ranks[1].unknown_s > 0
    words = " ".join(report.findings)
    assert "work of the other" not in words and "not balanced" not in words
    # The same figures of a whole recording would be told.
    as_if = [replace(each, unknown_s=0.0, reasons={}) for each in report.ranks]
    assert unlike_devices(as_if) != []
    assert "not balanced" in " ".join(findings_of(replace(report, ranks=as_if)))


def test_exposed_communication_saves_nothing_that_is_known_where_work_is_lost() -> None:
    rows: list[Row] = []
    for n in range(10):
        rows += [
            call(1000 * n, 5, correlation=n + 1),
            collective(1000 * n + 20, 500, correlation=n + 1),
        ]
        rows += [call(1000 * n + 10, 5, correlation=50 + n)]
    rows.append(kernel(9_600, 100, correlation=59))
    words = " ".join(analyse([trace(*rows)], RULES).findings)
    assert "exposed, with nothing computed meanwhile, as far as it was recorded." in words
    assert "could be" not in words


def test_no_speedup_is_claimed_of_a_recording_that_lacks_work() -> None:
    whole = run_work(analyse([replays(list(range(100)))], RULES))
    lacking = run_work(analyse([replays([0, 99])], RULES))
    for fewer, more in ((whole, lacking), (lacking, whole)):
        found = scaling(fewer, more)
        assert (found.speedup, found.reason) == (None, "a recording lacks work that was launched")


def test_a_comparison_says_what_was_lost_and_not_what_got_slower() -> None:
    found = diff(replays(list(range(100))), replays([0, 99]), RULES)
    assert len(found.findings) == 1  # how long the two take
    (doubt,) = [each for each in found.doubts if each.about == "work after"]
    assert "98 of 100 cudaGraphLaunch" in doubt.sentence


def test_parts_of_the_time_sum_to_the_wall_whatever_is_lost() -> None:
    for lost in range(1, 99, 7):
        recorded = [n for n in range(100) if n % 9 and not lost <= n < lost + 30] + [99]
        (device,) = break_down(replays(sorted(set(recorded))), RULES)
        assert device.busy_s + (device.idle_s or 0.0) + device.unknown_s == pytest.approx(
            device.wall_s
        )
        assert sum(time_parts(device).values()) == pytest.approx(device.wall_s)


# --- clocks of host and device ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shift", "way"), [(-2_000_000, "before"), (3_600 * 10**9, "after"), (-(10**18), "before")]
)
def test_causes_are_not_told_where_the_clocks_of_host_and_device_disagree(
    shift: int, way: str
) -> None:
    rows = [row for n in range(10) for row in launched(1000 * n, 500, n + 1)]
    moved = [
        row | {"start_ns": row["start_ns"] + shift} if row["kind"] == "kernel" else row
        for row in rows
    ]
    report = analyse([trace(*moved)], RULES)
    (device,) = report.ranks
    assert (ns(device.busy_s), ns(device.idle_s)) == (5_000, 4_500)
    assert device.idle == [] and device.critical_path == []
    assert f"{way} the calls that launched it" in device.reasons["clocks"]
    assert [each.sentence for each in report.doubts] == [device.reasons["clocks"]]
    words = " ".join(report.findings)
    assert "launched the next kernel too late" not in words and "critical path of" not in words


def test_clocks_that_differ_by_less_than_a_millisecond_and_long_queues_are_usual() -> None:
    rows = [row for n in range(100) for row in launched(10_000 * n, 5_000, n + 1)]
    early = [
        row | {"start_ns": row["start_ns"] - 900_000} if row["kind"] == "kernel" else row
        for row in rows
    ]
    assert "clocks" not in only(trace(*early)).reasons
    queued = [call(n, 1, correlation=n + 1) for n in range(100)]
    queued += [kernel(100 + n * 10**9, 10**9, correlation=n + 1) for n in range(100)]
    assert "clocks" not in only(trace(*queued)).reasons
