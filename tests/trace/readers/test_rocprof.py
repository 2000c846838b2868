"""rocprof's tables and JSON: agents as devices, copies by their ends, files of one process."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from topout.errors import InputError
from topout.trace.readers.profiler_csv import read_rocprof_csv
from topout.trace.readers.read import format_of, read_trace, read_traces
from topout.trace.table import HOST_DEVICE, Trace

from .rocprof_files import (
    CALLS,
    COPIES,
    FIRST_VERSION,
    KERNELS,
    MARKS,
    STATS,
    document,
    record,
    whole,
)


def told(trace: Trace, *columns: str) -> list[tuple[Any, ...]]:
    texts = [pl.col(name).cast(pl.String) for name in ("kind", "name")]
    return trace.events.select(*texts, *columns).rows()


def save(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_kernels_have_the_numbers_of_their_agents(tmp_path: Path) -> None:
    trace = read_trace(save(tmp_path / "1_kernel_trace.csv", KERNELS))
    assert trace.format == "rocprof_csv"
    assert told(trace, "device", "stream", "start_ns", "duration_ns", "correlation") == [
        ("kernel", "Cijk_Ailk_Bljk_BBS_BH", 4, 1, 1_001_000, 800, 1),
        ("kernel", "void f<int>(int, float)", 5, 2, 1_002_000, 100, 2),
    ]
    assert [device.number for device in trace.devices] == [4, 5]
    assert trace.doubts == ()


def test_copies_belong_to_the_end_that_is_no_host(tmp_path: Path) -> None:
    trace = read_trace(save(tmp_path / "1_memory_copy_trace.csv", COPIES))
    assert told(trace, "device", "copy_kind", "from_device", "to_device") == [
        ("memcpy", "MEMORY_COPY_HOST_TO_DEVICE", 4, "HtoD", None, None),
        ("memcpy", "MEMORY_COPY_DEVICE_TO_HOST", 5, "DtoH", None, None),
        ("memcpy", "MEMORY_COPY_PEER_TO_PEER", 4, "PtoP", 4, 5),
        ("memcpy", "MEMORY_COPY_DEVICE_TO_DEVICE", 4, "DtoD", None, None),
    ]
    assert trace.doubts == ("the sizes of copies are not in the file",)


def test_what_one_process_wrote_in_several_files_is_one_trace(tmp_path: Path) -> None:
    parts = {"kernel": KERNELS, "memory_copy": COPIES, "hip_api": CALLS, "marker_api": MARKS}
    for name, text in parts.items():
        save(tmp_path / f"7_{name}_trace.csv", text)
    save(tmp_path / "7_kernel_stats.csv", STATS)
    save(tmp_path / "7_agent_info.csv", '"Node_Id","Logical_Node_Id","Agent_Type"\n0,0,"CPU"\n')
    save(tmp_path / "8_kernel_trace.csv", KERNELS)
    first, second = read_traces([tmp_path])
    assert first.path.name == "7_kernel_trace.csv"
    assert second.path.name == "8_kernel_trace.csv"
    assert len(first.events) == 8
    assert first.events["start_ns"].is_sorted()
    assert first.timed
    assert first.holds_copies and not second.holds_copies
    kinds = first.events["kind"].cast(pl.String).to_list()
    assert (kinds.count("runtime"), kinds.count("annotation")) == (1, 1)
    assert "agent_info" in " ".join(first.doubts)
    assert "only calls" not in " ".join(first.doubts)


def test_calls_alone_are_told(tmp_path: Path) -> None:
    trace = read_trace(save(tmp_path / "7_hip_api_trace.csv", CALLS))
    assert told(trace, "device", "process", "thread") == [
        ("runtime", "hipLaunchKernel", HOST_DEVICE, 238, 239)
    ]
    assert trace.doubts == ("no kernel, copy or fill is in it: only calls of the host",)


def test_sums_count_kernels_and_copies_but_no_calls(tmp_path: Path) -> None:
    trace = read_trace(save(tmp_path / "kernel_stats.csv", STATS))
    assert not trace.timed
    sums = trace.events.group_by(pl.col("name").cast(pl.String)).agg(pl.col("duration_ns").sum())
    assert dict(sums.rows()) == {"Cijk_Ailk_Bljk_BBS_BH": 2400, "MEMORY_COPY_HOST_TO_DEVICE": 100}
    assert trace.events["bytes"].null_count() == 5
    assert trace.holds_copies


def test_the_first_versions_of_rocprof(tmp_path: Path) -> None:
    trace = read_trace(save(tmp_path / "results.csv", FIRST_VERSION))
    assert told(trace, "device", "stream", "start_ns", "duration_ns") == [
        ("kernel", "Cijk_Ailk_Bljk_SB (.kd)", 1, 3, 2_000_000, 500)
    ]


def test_counters_are_refused_by_name(tmp_path: Path) -> None:
    header = '"Correlation_Id","Dispatch_Id","Agent_Id","Kernel_Name","Counter_Name"\n'
    with pytest.raises(InputError, match="a table of counters of rocprof") as refused:
        read_trace(save(tmp_path / "counter_collection.csv", header))
    assert "--kernel-trace" in (refused.value.remedy or "")


def test_json_of_rocprofv3(tmp_path: Path) -> None:
    trace = read_trace(save(tmp_path / "out_results.json", json.dumps(whole())))
    assert trace.format == "rocprofv3_json"
    assert told(trace, "device", "correlation", "bytes", "copy_kind", "to_device") == [
        ("annotation", "step 1", HOST_DEVICE, 9, None, None, None),
        ("runtime", "hipLaunchKernel", HOST_DEVICE, 1, None, None, None),
        ("kernel", "Cijk_Ailk(float*)", 1, 1, None, None, None),
        ("kernel", "mangled", 0, None, None, None, None),
        ("kernel", "kernel 99", 0, None, None, None, None),
        ("memcpy", "Memcpy HtoD", 0, None, 4096, "HtoD", None),
        ("memcpy", "Memcpy DtoH", 1, None, None, "DtoH", None),
        ("memcpy", "Memcpy PtoP", 1, None, 8, "PtoP", 1),
        ("memcpy", "Memcpy DtoD", 0, None, 8, "DtoD", None),
    ]
    assert [(each.number, each.name) for each in trace.devices] == [(0, "GFX941"), (1, "GFX942")]
    assert trace.doubts == ("Of kinds that are not read, counted in no figure: names.",)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"rocprofiler-sdk-tool": [{"metadata": ', "not as rocprofv3 writes JSON"),
        ('{"rocprofiler-sdk-tool": 7}', "not as rocprofv3 writes JSON"),
        ('{"rocprofiler-sdk-tool": [{"buffer_records": {"kernel_dispatch": [7]}}]}', "object"),
        ('{"rocprofiler-sdk-tool": [{"agents": "x"}]}', "agents"),
    ],
)
def test_damaged_json_of_rocprofv3_is_refused(tmp_path: Path, text: str, what: str) -> None:
    path = save(tmp_path / "results.json", text)
    assert format_of(path) == "rocprofv3_json"
    with pytest.raises(InputError, match=what) as refused:
        read_trace(path)
    assert str(path) in refused.value.message


def test_json_of_rocprofv3_with_odd_times_and_agents(tmp_path: Path) -> None:
    def on(agent: int) -> dict[str, Any]:
        return {"kernel_id": 17, "agent_id": {"handle": agent}, "queue_id": {"handle": 2}}

    given = document(
        kernel_dispatch=[
            record(1_000, 900, dispatch_info=on(80)),
            record(2_000, 2_100, dispatch_info=on(4711)),
            record(3_000, 3_100, dispatch_info=on(4711)),
        ]
    )
    trace = read_trace(save(tmp_path / "results.json", json.dumps(given)))
    assert trace.events["duration_ns"].to_list() == [0, 100, 100]
    assert trace.events["device"].to_list() == [0, 2, 2]  # GPUs 0 and 1 are listed, 4711 is not
    assert "1 negative durations were taken as 0" in trace.doubts
    assert not trace.holds_copies


def test_json_of_rocprofv3_without_kernels_says_so(tmp_path: Path) -> None:
    trace = read_trace(save(tmp_path / "results.json", json.dumps(document(hip_api=[]))))
    assert trace.events.is_empty()
    assert "--kernel-trace" in trace.doubts[-1]


def test_starts_and_ends_without_units_are_taken_as_nanoseconds(tmp_path: Path) -> None:
    text = "Start,End,Name,Device\n10,25,f,0\n30,31,g,0\n"
    trace = read_rocprof_csv(save(tmp_path / "t.csv", text))
    assert told(trace, "start_ns", "duration_ns", "device") == [
        ("kernel", "f", 10, 15, 0),
        ("kernel", "g", 30, 1, 0),
    ]
    assert trace.doubts == ("the file does not say its units: starts and ends were taken as ns",)
