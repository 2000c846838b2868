"""Sentences of a report: said where the figures bear them out, and not otherwise."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.trace.analysis.example_traces import (
    ALL_REDUCE,
    GEMM,
    call,
    collective,
    kernel,
    published,
    rank,
    trace,
)
from topout.records.trace import (
    CriticalPart,
    DeviceTime,
    GroupTime,
    IdleTime,
    MemoryPoint,
    TraceReport,
)
from topout.trace.analysis.findings import findings_of, unlike_devices
from topout.trace.analysis.groups import load_rules
from topout.trace.analysis.report import analyse
from topout.trace.table import Trace

RULES = load_rules()


def _report(*traces: Trace) -> TraceReport:
    return analyse(list(traces), RULES)


def _with(**changes: Any) -> TraceReport:
    """A report of one device, busy for all of one second, with changes."""
    report = _report(trace(kernel(0, 10**9)))
    return replace(report, ranks=[replace(report.ranks[0], **changes)])


def _said(report: TraceReport, words: str) -> str:
    """The one sentence that has these words, "" for none."""
    found = [sentence for sentence in findings_of(report) if words in sentence]
    assert len(found) <= 1
    return found[0] if found else ""


def test_what_takes_most_of_the_time() -> None:
    assert _said(_report(trace(kernel(0, 30), kernel(30, 10, ALL_REDUCE))), "matrix-mul") == (
        f"Device 0 spends 75 % of its work on matrix-mul (30.0 ns); the longest kernel, {GEMM}, "
        "takes 75 % in 1 call."
    )


def test_idle_time_and_its_largest_cause() -> None:
    idle = [
        IdleTime(cause="host", gaps=3, total_s=0.3, share=0.75),
        IdleTime(cause="other", gaps=9, total_s=0.1, share=0.25),
    ]
    said = _said(_with(idle=idle, idle_s=0.4, busy_s=0.6), "is idle")
    assert said.startswith("Device 0 is idle for 40 % of 1.00 s, 75 % of that because the host")
    assert "CUDA graphs" in said
    assert not _said(_with(idle=idle, idle_s=0.04), "is idle")


def test_idle_time_without_a_cause_says_why_there_is_none() -> None:
    said = _said(_report(trace(kernel(0, 10), kernel(90, 10))), "is idle")
    assert said.startswith("Device 0 is idle for 80 % of 100 ns. The trace holds no launch calls")


def test_exposed_communication() -> None:
    path = [
        CriticalPart(name="matrix-mul", total_s=0.7, share=0.7),
        CriticalPart(name="communication", total_s=0.3, share=0.3),
    ]
    exposed = {"communication_s": 0.3, "exposed_communication_s": 0.2}
    said = _said(_with(**exposed, critical_path=path), "communicates")
    assert "30 % of its busy time; 67 % of that is exposed" in said
    assert "1.00 s could be 800 ms" in said
    # Without a path nothing says that less could be saved.
    assert "1.00 s could be 800 ms" in _said(_with(**exposed, critical_path=[]), "communicates")
    hidden = _said(_with(communication_s=0.3, exposed_communication_s=0.001), "communicates")
    assert "hidden behind compute." in hidden
    beside = _with(communication_s=0.3, exposed_communication_s=0.001, critical_path=path)
    assert "hidden behind compute that takes as long." in _said(beside, "communicates")
    assert not _said(_with(communication_s=0.001), "communicates")


def test_no_more_can_be_saved_than_the_critical_path_holds() -> None:
    """The host launches at its own pace: of five all-reduces of 500 µs one is on the path."""
    rows = []
    for step in range(5):
        at, number = 1_000_000 * step, 2 * step + 1
        rows += [
            call(at, 5_000, correlation=number),
            collective(at + 20_000, 500_000, correlation=number),
            call(at + 10_000, 5_000, correlation=number + 1),
            kernel(at + 520_000, 200_000, correlation=number + 1),
        ]
    report = _report(trace(*rows))
    # From 20 to 4720 µs: the last 200 of compute, 500 of the all-reduce, 20 of launch, the host.
    path = {part.name: round(part.total_s * 1e6) for part in report.ranks[0].critical_path}
    assert path == {"host": 3980, "communication": 500, "matrix-mul": 200, "launch": 20}
    assert report.ranks[0].exposed_communication_s == pytest.approx(2500e-6)
    assert "without it 4.70 ms could be 4.20 ms." in _said(report, "communicates")
    assert "communication 11 %" in _said(report, "critical path of")


def test_communication_that_is_not_on_the_critical_path_saves_nothing() -> None:
    path = [CriticalPart(name="host", total_s=1.0, share=1.0)]
    said = _said(
        _with(communication_s=0.3, exposed_communication_s=0.2, critical_path=path), "communicates"
    )
    assert said.endswith("but hardly any of it on the critical path: 1.00 s would stay.")


@given(
    st.floats(0.03, 1.0),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
    st.floats(0.1, 10.0),
)
def test_what_could_be_saved_never_exceeds_what_is_exposed_or_on_the_path(
    communicates: float, exposed: float, on_path: float, step_s: float
) -> None:
    """Of one second; the path is of one step, of as many as fit into it."""
    exposed_s = exposed * communicates
    path = [
        CriticalPart(name="communication", total_s=on_path * step_s, share=on_path),
        CriticalPart(name="host", total_s=(1 - on_path) * step_s, share=1 - on_path),
    ]
    said = _said(
        _with(communication_s=communicates, exposed_communication_s=exposed_s, critical_path=path),
        "communicates",
    )
    if "could be" not in said:
        assert exposed_s < 0.02 or on_path * max(1.0, step_s) < 0.021
        return
    number, unit = said.removesuffix(".").rsplit(" ", 2)[1:]
    least_s = float(number) * {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[unit]
    saved_s = 1 - least_s
    assert saved_s <= min(exposed_s, on_path * max(1.0, step_s)) + 0.006
    assert saved_s >= min(exposed_s, on_path * max(1.0, step_s)) - 0.006


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("volta_sgemm_128x64_tn", "plain fp32 cores"),
        ("ampere_bf16_s16816gemm_bf16_128x128_ldg8_f2f_tn", ""),
        ("sm80_xmma_gemm_f32f32_tf32f32_f32_tn_n", ""),
        ("void gemmk1_kernel<int>", "unknown"),
    ],
)
def test_tensor_cores_by_the_names_of_kernels(name: str, words: str) -> None:
    found = [each for each in findings_of(_report(trace(kernel(0, 10, name)))) if "cores" in each]
    assert bool(found) == bool(words)
    assert all(words in each for each in found)


def test_many_short_kernels_on_a_device_that_idles() -> None:
    rows = [kernel(at * 10_000, 2_000) for at in range(50)]
    assert "last 2.00 µs in the mean" in _said(_report(trace(*rows)), "in the mean, no longer")
    busy = [kernel(at * 2_000, 2_000) for at in range(50)]
    assert not _said(_report(trace(*busy)), "in the mean, no longer")


def test_the_critical_path_is_told_where_launches_are_known() -> None:
    launched = _report(trace(call(0, 5, correlation=1), kernel(10, 90, correlation=1)))
    assert "90.0 ns long: matrix-mul 100 %" in _said(launched, "critical path")
    assert not _said(_report(trace(kernel(0, 10))), "critical path")


def test_the_peak_of_memory() -> None:
    points = [
        MemoryPoint(at_s=0.5, allocated_bytes=2**30, reserved_bytes=2**31),
        MemoryPoint(at_s=0.7, allocated_bytes=5, reserved_bytes=2**31),
    ]
    assert _said(_with(memory=points), "peaks") == (
        "Memory of device 0 peaks at 1.00 GiB allocated, 500 ms after the trace begins, "
        "2.00 GiB reserved."
    )


def test_waiting_for_the_late_rank() -> None:
    ranks = [rank(0, collective(0, 100)), rank(1, collective(60, 40))]
    said = _said(_report(*ranks), "waiting for others")
    assert said.startswith("43 % of the time in all_reduce (30.0 ns of 70.0 ns per rank)")
    assert said.endswith("the last to come is most often rank 1.")
    together = [rank(0, collective(0, 100)), rank(1, collective(2, 98))]
    assert not _said(_report(*together), "waiting for others")


def test_device_two_of_the_published_run_does_about_half_the_work() -> None:
    said = _said(_report(published("bert", 4)), "the matrix-mul work")
    assert said.startswith("Device 2 does about half (0.525×) the matrix-mul work of the other 3")
    assert "Device 2" not in " ".join(findings_of(_report(published("distilgpt2", 4))))


def _device(number: int, seconds: float, group: str = "matrix-mul") -> DeviceTime:
    made = _report(trace(kernel(0, 10))).ranks[0]
    share = GroupTime(name=group, calls=1, total_s=seconds, share=1.0)
    return replace(made, device=number, groups=[share], compute_s=seconds)


def test_devices_that_differ_from_the_rest() -> None:
    assert unlike_devices([_device(0, 1.0), _device(1, 1.1), _device(2, 0.9)]) == []
    (less,) = unlike_devices([_device(0, 1.0), _device(1, 0.4)])
    assert less.startswith("Device 1 does 0.400× the matrix-mul work of the other device")
    (more,) = unlike_devices([_device(0, 1.0), _device(1, 3.0), _device(2, 1.0)])
    assert more.startswith("Device 1 does 3.00×")
    assert unlike_devices([_device(0, 1.0)]) == []


def test_waiting_in_collectives_is_no_unlike_work() -> None:
    devices = [_device(0, 1.0, "communication"), _device(1, 9.0, "communication")]
    assert unlike_devices(devices) == []


def test_work_that_is_not_balanced() -> None:
    report = replace(_report(trace(kernel(0, 10))), ranks=[_device(0, 3.0), _device(1, 1.0)])
    assert "Device 0 computes for 3.00 s, the mean is 2.00 s; evenly spread it would take 33 %" in (
        _said(report, "not balanced")
    )
    even = replace(report, ranks=[_device(0, 1.0), _device(1, 1.0)])
    assert not _said(even, "not balanced")


def test_a_report_without_devices_has_no_findings() -> None:
    assert findings_of(replace(_report(trace(kernel(0, 10))), ranks=[])) == []
