"""JSON of Nsight Systems: a line for each event, names by numbers, numbers written as texts."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from topout.errors import InputError
from topout.trace.readers.read import format_of, read_trace
from topout.trace.table import HOST_DEVICE, Trace

from .nsys_json_files import APART, EVENTS, PROCESS, WHOLE, device, kernel, nvtx


def write(folder: Path, lines: Sequence[dict[str, Any]], name: str = "report.json") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    return path


def told(trace: Trace, *columns: str) -> list[tuple[Any, ...]]:
    texts = [pl.col(name).cast(pl.String) for name in ("kind", "name")]
    return trace.events.select(*texts, *columns).rows()


def test_work_calls_and_ranges(tmp_path: Path) -> None:
    path = write(tmp_path, [*EVENTS, *WHOLE])
    assert format_of(path) == "nsys_json"
    trace = read_trace(path)
    assert told(trace, "start_ns", "duration_ns", "device", "stream", "bytes") == [
        ("annotation", "iteration 16", 900, 4100, HOST_DEVICE, None, None),
        ("annotation", "own text", 950, 10, HOST_DEVICE, None, None),
        ("runtime", "cuLaunchKernelEx", 1000, 500, HOST_DEVICE, None, None),
        ("kernel", "nvjet_hsh_256x128", 2000, 800, 1, 7, None),
        ("memcpy", "[CUDA memcpy DtoH]", 3000, 400, 1, 7, 58_720_256),
        ("memset", "[CUDA memset]", 3500, 100, 1, 7, 64),
        ("gpu_sync", "SYNCHRONIZATION_TYPE_STREAM_WAIT_EVENT", 3700, 100, 1, 7, None),
        ("kernel", "ncclDevKernel_AllGather_RING_LL", 4000, 100, 1, 7, None),
    ]
    assert trace.events["collective"].drop_nulls().to_list() == ["all_gather"]
    assert set(trace.events["process"]) == {PROCESS}
    assert trace.events.filter(pl.col("kind") == "runtime")["thread"].item() == 0xA16CF
    assert trace.doubts == ("NVTX ranges without an end, left out: 1.",)


@pytest.mark.parametrize("lines", [[*WHOLE, *EVENTS], [*EVENTS, *APART], [*APART, *EVENTS]])
def test_names_may_stand_before_or_behind_and_apart(
    tmp_path: Path, lines: list[dict[str, Any]]
) -> None:
    path = write(tmp_path, lines)
    assert format_of(path) == "nsys_json"
    usual = read_trace(write(tmp_path, [*EVENTS, *WHOLE], "usual.json"))
    assert read_trace(path).events.equals(usual.events)


@pytest.mark.parametrize("piece_bytes", [7, 1 << 20])
def test_gzip_and_many_lines_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    path = write(tmp_path, [*EVENTS, *WHOLE])
    usual = read_trace(path).events
    monkeypatch.setattr("topout.trace.readers.nsys_json._CHUNK_ROWS", 2)
    monkeypatch.setattr("topout.trace.readers.file_text.PIECE_BYTES", piece_bytes)
    assert read_trace(path).events.equals(usual)
    packed = tmp_path / "packed.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    assert read_trace(packed).events.equals(read_trace(path).events)


def test_lines_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, [kernel(1, 2000, 2800), *WHOLE])
    path.write_text(path.read_text() + '{"Type":79,"CudaEvent":7}\n{"Type":79,"Cuda')
    trace = read_trace(path)
    assert len(trace.events) == 1
    assert trace.doubts == ("2 of 4 lines could not be read: left out.",)


def test_values_that_no_trace_has_are_unknown(tmp_path: Path) -> None:
    odd = kernel(1, 2000, 2800)
    odd["CudaEvent"] |= {"deviceId": "9" * 30, "streamId": "x", "globalPid": None}
    odd["CudaEvent"]["kernel"] = {"demangledName": "77"}
    lost = kernel(1, 2000, 2800)
    lost["CudaEvent"]["endNs"] = "9" * 19
    trace = read_trace(write(tmp_path, [odd, lost, kernel(1, 1, 2), *WHOLE]))
    assert told(trace, "device", "stream", "process") == [
        ("kernel", "nvjet_hsh_256x128", 1, 7, PROCESS),
        ("kernel", "(name not in the file)", None, None, None),
    ]
    assert "Events without a start or an end, left out: 1." in trace.doubts


def test_negative_durations_and_copies_without_ends_are_told(tmp_path: Path) -> None:
    across = device(80, 3000, 3400, memcpy={"sizebytes": "8", "copyKind": "10"})
    trace = read_trace(write(tmp_path, [kernel(1, 2000, 1990), across, *WHOLE]))
    assert trace.events["duration_ns"].to_list() == [0, 400]
    assert trace.doubts == (
        "1 negative durations were taken as 0",
        "1 copies between devices do not say between which",
    )


def test_kinds_that_are_not_read_are_told(tmp_path: Path) -> None:
    graph = device(80, 100, 400, graph={"graphId": 1})
    other = {"Type": 30, "OsrtEvent": {"startNs": "1"}}
    lines = [kernel(1, 1, 2), graph, device(127, 0, 0, cudaEventRecord={}), other, other, *WHOLE]
    trace = read_trace(write(tmp_path, lines))
    assert trace.doubts == (
        "Of kinds that are not read, counted in no figure: 2 OsrtEvents, 1 other event of CUDA "
        "(300 ns).",
    )


def test_a_report_without_cuda_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [nvtx(59, Timestamp="1", EndTimestamp="2", Text="x"), *WHOLE])
    with pytest.raises(InputError, match="without an event of CUDA") as refused:
        read_trace(path)
    assert "--trace=cuda" in (refused.value.remedy or "")


def test_a_trace_of_pytorch_is_not_taken_for_it(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"type": "x", "traceEvents": []}')
    assert format_of(path) == "kineto"
