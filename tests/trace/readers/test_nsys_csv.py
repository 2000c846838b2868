"""Nsight Systems' CSV: banners and other reports around the trace, old headers, summaries."""

from pathlib import Path

import polars as pl
import pytest

from topout.errors import InputError
from topout.trace.readers.profiler_csv import read_nsys_csv

RECORDED = Path(__file__).parent / "recorded"
TRACE = RECORDED / "nsys_gpu_trace.csv"


def test_a_trace_among_other_reports() -> None:
    trace = read_nsys_csv(TRACE)
    events = trace.events
    assert trace.format == "nsys_csv"
    assert events["start_ns"].to_list() == [
        14533415915,
        14618912140,
        14618955000,
        14618960000,
    ]
    assert events["duration_ns"].to_list() == [85411644, 41280, 2560, 1280]
    assert events["kind"].cast(pl.String).to_list() == ["memcpy", "kernel", "memcpy", "memset"]
    assert events["copy_kind"].cast(pl.String).to_list() == ["HtoD", None, "PtoP", None]
    # Decimal MB to three digits: 768 MiB = 805,306,368 B are printed as 805.306.
    assert events["bytes"].to_list() == [805_306_000, None, 4_000, 262_000]
    assert events["correlation"].to_list() == [107, 201, 212, 215]
    assert events["stream"].to_list() == [7, 7, 7, 7]
    assert events["device"].to_list() == [0, 0, 1, 1]
    assert str(events["name"][1]).endswith("align4::Params)")
    assert [device.name for device in trace.devices] == ["NVIDIA A100-SXM4-80GB"] * 2
    assert trace.holds_copies


def test_copies_between_devices_without_ends_are_told() -> None:
    (doubt,) = read_nsys_csv(TRACE).doubts
    assert doubt.startswith("1 copies between devices do not say between which")
    assert "SQLite" in doubt


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (" (ns)", "(nsec)"),
        ("Start (ns),Duration (ns)", "Start:ts_ns,Duration:dur_ns"),
        (",GreenCtx", ",Other"),
    ],
)
def test_headers_of_other_versions(tmp_path: Path, old: str, new: str) -> None:
    text = TRACE.read_text()
    assert old in text
    path = tmp_path / "other.csv"
    path.write_text(text.replace(old, new))
    assert read_nsys_csv(path).events.equals(read_nsys_csv(TRACE).events)


def test_sizes_in_other_units(tmp_path: Path) -> None:
    for unit, kilo in (("(B)", 1), (":mem_B", 1), ("(KB)", 1000), ("(MiB)", 2**20)):
        path = tmp_path / "unit.csv"
        header = f"Start (ns),Duration (ns),Bytes {unit},Device,Strm,Name".replace(" :", ":")
        path.write_text(f"{header}\n10,20,512,GPU (0),7,[CUDA memset]\n")
        assert read_nsys_csv(path).events["bytes"].to_list() == [512 * kilo]


def test_grouped_thousands_of_whole_nanoseconds(tmp_path: Path) -> None:
    path = tmp_path / "grouped.csv"
    path.write_text('Start (ns),Duration (ns),Device,Name\n"1,719,000","1,048",GPU (0),k\n')
    trace = read_nsys_csv(path)
    assert trace.holds_copies  # such a table would list them
    assert trace.events["start_ns"].to_list() == [1_719_000]
    assert trace.events["duration_ns"].to_list() == [1_048]


def test_large_times_keep_every_digit(tmp_path: Path) -> None:
    path = tmp_path / "epoch.csv"
    path.write_text("Start (ns),Duration (ns),Device,Name\n1700000000123456789,3,GPU (0),k\n")
    assert read_nsys_csv(path).events["start_ns"].to_list() == [1700000000123456789]


def test_a_device_without_a_number_gets_a_free_one(tmp_path: Path) -> None:
    path = tmp_path / "nameless.csv"
    path.write_text(
        "Start (ns),Duration (ns),Device,Name\n1,1,A100 (0),k\n2,1,Special,k\n3,1,A100 (2),k\n"
    )
    trace = read_nsys_csv(path)
    assert trace.events["device"].to_list() == [0, 1, 2]
    assert any("'Special'" in doubt for doubt in trace.doubts)


def test_calls_of_the_host_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.csv"
    path.write_text(
        "Start (ns),Duration (ns),Name,Result,CorrID,Pid,Tid,T-Pri,Thread Name\n"
        "500,300,cudaLaunchKernel,0,101,4242,4243,20,python3\n"
    )
    trace = read_nsys_csv(path)
    (event,) = trace.events.select("kind", "process", "thread", "correlation", "device").rows()
    assert event == ("runtime", 4242, 4243, 101, -1)
    assert any("only calls of the host" in doubt for doubt in trace.doubts)


def test_a_summary_keeps_calls_sum_least_and_most() -> None:
    trace = read_nsys_csv(RECORDED / "nsys_kern_sum.csv")
    durations = trace.events["duration_ns"].to_list()
    # 3 calls, 7,000 ns, least 1,000, most 4,000: the third is 2,000. Then 3,001 = 1,000 + 2,001.
    assert durations == [1000, 4000, 2000, 1000, 2001]
    ends = (trace.events["start_ns"] + trace.events["duration_ns"]).to_list()
    assert trace.events["start_ns"].to_list()[1:] == ends[:-1]
    assert any("summary" in doubt for doubt in trace.doubts)
    assert not trace.holds_copies


def test_a_table_of_sizes_is_no_trace(tmp_path: Path) -> None:
    text = TRACE.read_text()
    path = tmp_path / "sizes.csv"
    path.write_text(text[text.index("Processing [run.sqlite] with [cuda_gpu_mem_size_sum") :])
    with pytest.raises(InputError, match="is not a trace of Nsight Systems") as caught:
        read_nsys_csv(path)
    assert "cuda_gpu_trace" in caught.value.remedy


def test_the_table_for_people_is_named_as_text(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(
        " Start (ns)  Duration (ns)  Name\n ----------  -------------  ----\n 1  2  k\n"
    )
    with pytest.raises(InputError, match="is text that Nsight Systems wrote"):
        read_nsys_csv(path)


def test_a_summary_that_contradicts_itself_keeps_calls_and_sum(tmp_path: Path) -> None:
    path = tmp_path / "sum.csv"
    text = (RECORDED / "nsys_kern_sum.csv").read_text()
    path.write_text(text.replace(",4000,", ",1100,"))
    assert read_nsys_csv(path).events["duration_ns"].to_list()[:3] == [2334, 2333, 2333]
