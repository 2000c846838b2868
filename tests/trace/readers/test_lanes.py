"""Traces without categories, told by the names of their processes and threads."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from topout.trace.analysis.doubts import doubts_of_files
from topout.trace.readers import kineto
from topout.trace.readers.kineto import read_kineto
from topout.trace.readers.kineto_scan import PythonScan
from topout.trace.table import Trace

Event = dict[str, Any]


def process(pid: int | str, label: str) -> Event:
    return {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": label}}


def thread(pid: int, tid: int, label: str) -> Event:
    return {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": label}}


def event(pid: int | str, tid: int, ts: Any, dur: Any, name: str, **args: Any) -> Event:
    return {"ph": "X", "pid": pid, "tid": tid, "ts": ts, "dur": dur, "name": name, "args": args}


def read(folder: Path, *events: Event, name: str = "trace.json") -> Trace:
    path = folder / name
    path.write_text(json.dumps({"displayTimeUnit": "ns", "traceEvents": list(events)}))
    return read_kineto(path)


def told(trace: Trace, *columns: str) -> list[tuple[Any, ...]]:
    texts = [pl.col(name).cast(pl.String) for name in ("kind", "name")]
    return trace.events.select(*texts, *columns).rows()


GPU = (
    process(1, "/device:GPU:3 NVIDIA A100"),
    thread(1, 14, "Stream #14(Compute,MemcpyH2D)"),
    thread(1, 90, "XLA Modules"),
    thread(1, 91, "XLA Ops"),
    process(701, "/host:CPU"),
    thread(701, 5, "python"),
)


def test_streams_of_jax_hold_work_and_the_lines_beside_them_span_it(tmp_path: Path) -> None:
    copied = {"memcpy_details": "kind_src:pinned kind_dst:device size:4096 dest:0 async:1"}
    trace = read(
        tmp_path,
        *GPU,
        event(1, 14, 1.0, 2.5, "MemcpyH2D", correlation_id=7, **copied),
        event(1, 14, 10, 5, "loop_add_fusion", hlo_op="loop_add_fusion", hlo_module="jit_f"),
        event(1, 90, 1, 14, "jit_f"),
        event(1, 91, 10, 5, "loop_add_fusion"),
        name="node7.trace.json",
    )
    assert told(trace, "device", "stream", "correlation", "bytes", "copy_kind") == [
        ("memcpy", "MemcpyH2D", 3, 14, 7, 4096, "HtoD"),
        ("gpu_annotation", "jit_f", 3, 90, None, None, None),
        ("kernel", "loop_add_fusion", 3, 14, None, None, None),
        ("gpu_annotation", "loop_add_fusion", 3, 91, None, None, None),
    ]
    assert (trace.format, trace.host) == ("jax_json", "node7")
    assert trace.events["start_ns"].to_list() == [1_000, 1_000, 10_000, 10_000]
    assert trace.events["duration_ns"].to_list() == [2_500, 14_000, 5_000, 5_000]


def test_what_the_host_did_is_told_by_names(tmp_path: Path) -> None:
    trace = read(
        tmp_path,
        *GPU,
        event(701, 5, 0, 9, "$train.py:12 step"),
        event(701, 5, 1, 2, "cuLaunchKernel", correlation_id=7),
        event(701, 6, 2, 4, "dot.3", hlo_module="jit_f"),
        event(701, 5, 3, 1, "PjitFunction(f)"),
    )
    assert told(trace, "device", "process", "thread") == [
        ("python", "$train.py:12 step", -1, 701, 5),
        ("runtime", "cuLaunchKernel", -1, 701, 5),
        ("cpu_op", "dot.3", -1, 701, 6),
        ("annotation", "PjitFunction(f)", -1, 701, 5),
    ]


def test_the_operators_of_a_tpu_are_its_work_without_those_around_them(tmp_path: Path) -> None:
    trace = read(
        tmp_path,
        process(2, "/device:TPU:0"),
        thread(2, 1, "Steps"),
        thread(2, 2, "XLA Modules"),
        thread(2, 3, "XLA Ops"),
        event(2, 1, 0, 100, "1"),
        event(2, 2, 0, 100, "jit_step"),
        event(2, 3, 10, 50, "while.1"),
        event(2, 3, 12, 20, "dot.5"),
        event(2, 3, 32, 8, "all-reduce.1"),
        event(2, 3, 70, 5, "copy.2"),
    )
    work = trace.device_work.select(pl.col("name").cast(pl.String), "collective")
    assert work.rows() == [("dot.5", None), ("all-reduce.1", None), ("copy.2", None)]
    assert set(trace.events.filter(pl.col("kind") == "gpu_annotation")["name"]) == {
        "1", "jit_step", "while.1",
    }  # fmt: skip


def test_a_million_events_are_all_that_jax_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("topout.trace.readers.lanes._XLA_MOST_EVENTS", 2)
    one, two = (event(1, 14, ts, 1, "k") for ts in (0, 1))
    assert read(tmp_path, *GPU, one, {}).doubts == ()  # JAX ends with an empty entry
    assert "the most that its exporter keeps" in read(tmp_path, *GPU, one, two).doubts[0]


def test_rocprof_gives_exact_times_beside_whole_microseconds(tmp_path: Path) -> None:
    def exact(pid: int, begin: int, took: int, name: str, **more: Any) -> Event:
        times = {"BeginNs": str(begin), "DurationNs": str(took)}
        return event(pid, 1, str(begin // 1000), str(took // 1000), name, **times, **more)

    labels = [process(6, "GPU0"), process(7, "GPU1"), process(2, "CPU HIP API")]
    labels += [process(1, "COPY"), process(0, "Markers and Ranges")]
    trace = read(
        tmp_path,
        *labels,
        exact(2, 1_000_100, 900, "hipLaunchKernel"),
        exact(6, 1_001_250, 1_750, "Cijk_Ailk", **{"dev-id": "0", "queue-id": "3"}),
        exact(7, 1_004_000, 250, "CopyHostToDevice", **{"dev-id": "1", "queue-id": "0"}),
        exact(1, 1_005_000, 100, "CopyDeviceToHost"),
        exact(0, 1_006_000, 100, "step"),
    )
    assert told(trace, "start_ns", "duration_ns", "device", "stream", "copy_kind") == [
        ("runtime", "hipLaunchKernel", 1_000_100, 900, -1, None, None),
        ("kernel", "Cijk_Ailk", 1_001_250, 1_750, 0, 3, None),
        ("memcpy", "CopyHostToDevice", 1_004_000, 250, 1, 0, "HtoD"),
        ("memcpy", "CopyDeviceToHost", 1_005_000, 100, None, 1, "DtoH"),
        ("annotation", "step", 1_006_000, 100, -1, None, None),
    ]
    (doubt,) = doubts_of_files([trace])
    assert "on which device 1 of its kernels, copies and fills ran (100 ns)" in doubt.sentence


def test_copies_of_a_single_device_are_its_own(tmp_path: Path) -> None:
    labels = [process(6, "GPU2"), process(1, "COPY")]
    trace = read(tmp_path, *labels, event(1, 0, 5, 2, "CopyHostToDevice"))
    assert told(trace, "device", "start_ns") == [("memcpy", "CopyHostToDevice", 2, 5_000)]


def test_operators_that_the_old_profiler_timed_count_once(tmp_path: Path) -> None:
    trace = read(
        tmp_path,
        event("CPU functions", 1, 0, 30, "aten::linear"),
        event("CUDA functions", 1, 10, 40, "aten::linear"),
        event("CUDA functions", 1, 12, 30, "aten::addmm"),
        event("CUDA functions", 1, 60, 5, "aten::relu"),
    )
    assert told(trace, "device") == [
        ("cpu_op", "aten::linear", -1),
        ("gpu_annotation", "aten::linear", 1),
        ("kernel", "aten::addmm", 1),
        ("kernel", "aten::relu", 1),
    ]
    assert trace.format == "pytorch_legacy_json"
    assert not trace.holds_copies
    assert "not kernels" in trace.doubts[0]


def test_the_old_profiler_without_a_device(tmp_path: Path) -> None:
    trace = read(tmp_path, event("CPU functions", 1, 0, 30, "aten::linear"))
    assert (trace.format, trace.device_numbers, trace.doubts) == ("pytorch_legacy_json", [], ())


def test_other_traces_without_categories_are_not_taken_for_these(tmp_path: Path) -> None:
    trace = read(tmp_path, process(1, "a program"), event(1, 1, 0, 5, "f"))
    assert told(trace) == [("other", "f")]
    assert trace.format == "kineto"


def test_without_a_compiler_the_same_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [*GPU, event(1, 14, 1, 2, "k"), event(701, 5, 0, 9, "f"), event(1, 90, 0, 4, "m")]
    compiled = read(tmp_path, *events)
    monkeypatch.setattr(kineto, "NativeScan", PythonScan)
    assert read(tmp_path, *events).events.equals(compiled.events)


def test_negative_durations_and_damaged_names_are_told(tmp_path: Path) -> None:
    trace = read(tmp_path, *GPU, event(1, 14, 5, -2, "k"), event(1, 14, 9, 1, "caf\ud800"))
    assert trace.events["duration_ns"].to_list() == [0, 1000]
    assert trace.doubts == (
        "1 events had negative durations: taken as 0.",
        "1 names hold bytes that are not UTF-8: shown as \ufffd.",
    )
