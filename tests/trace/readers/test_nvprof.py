"""nvprof's CSV: units, devices, copies between them, and files that are not as they should be."""

import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topout.errors import InputError
from topout.trace.readers import file_text
from topout.trace.readers.profiler_csv import read_nvprof
from topout.trace.readers.read import read_trace
from topout.trace.table import HOST_DEVICE, SCHEMA

RECORDED = Path(__file__).parent / "recorded"
CUDA8 = RECORDED / "nvprof_cuda8.csv"
PEERS = RECORDED / "nvprof_cuda11_peers.csv"


def column(events: pl.DataFrame, name: str) -> list[object]:
    series = events[name]
    return (series.cast(pl.String) if series.dtype == pl.Enum else series).to_list()


def changed(tmp_path: Path, old: str, new: str, source: Path = CUDA8) -> Path:
    text = source.read_text()
    assert old in text
    path = tmp_path / "changed.csv"
    path.write_text(text.replace(old, new))
    return path


def test_an_old_file_has_no_memory_types_and_correlations_in_names() -> None:
    trace = read_nvprof(CUDA8)
    events = trace.events
    assert list(events.columns) == list(SCHEMA)
    assert trace.format == "nvprof_csv"
    assert trace.doubts == ()
    assert [(each.number, each.name) for each in trace.devices] == [(0, "Tesla K40c")]
    assert column(events, "name") == [
        "[CUDA memcpy HtoD]",
        "[CUDA memset]",
        "sgemm_largek_lds64",
        "void add<float, int=4>(float*, char const *, int)",
        "[CUDA memcpy DtoH]",
    ]
    assert column(events, "kind") == ["memcpy", "memset", "kernel", "kernel", "memcpy"]
    assert column(events, "copy_kind") == ["HtoD", None, None, None, "DtoH"]
    # Starts in s, durations in us: 0.309511 s = 309,511,000 ns; 123.363 us = 123,363 ns.
    assert column(events, "start_ns")[0] == 309_511_000
    assert column(events, "duration_ns") == [123_363, 2_080, 845_317, 12_288, 9_120]
    # 64 KB of 1024 B, which is what 123.363 us at 506.63 MB/s are; 0.5 KB; 16 KB.
    assert column(events, "bytes") == [65_536, 512, None, None, 16_384]
    assert round(65_536 / 123.363e-6 / 2**20, 2) == 506.63
    assert column(events, "stream") == [7, 7, 7, 13, 7]
    assert column(events, "correlation") == [None, None, 2143, 2151, None]
    assert set(column(events, "process")) == {2143}


def test_copies_between_devices_say_from_where_to_where() -> None:
    trace = read_nvprof(PEERS)
    peer = trace.events.filter(pl.col("copy_kind") == "PtoP")
    assert column(peer, "from_device") == [0]
    assert column(peer, "to_device") == [1]
    assert column(peer, "bytes") == [4 * 2**20]
    assert trace.events["from_device"].null_count() == trace.events.height - 1
    assert trace.device_numbers == [0, 1]
    assert trace.devices[1].name == "Tesla V100-SXM2-32GB-LS"
    nccl = trace.events.filter(pl.col("name").cast(pl.String).str.starts_with("nccl"))
    assert column(nccl, "collective") == ["reduce"]


def test_what_nvprof_itself_warned_of_is_told() -> None:
    assert read_nvprof(PEERS).doubts == (
        "the profiler warned: 3 records have invalid timestamps due to insufficient device buffer "
        "space.",
    )


def test_a_call_of_the_host_has_no_device() -> None:
    calls = read_nvprof(PEERS).events.filter(pl.col("kind") == "runtime")
    assert column(calls, "name") == ["cudaLaunchKernel"]
    assert column(calls, "device") == [HOST_DEVICE]
    assert column(calls, "correlation") == [316]


def test_gzip_is_read_like_the_plain_file(tmp_path: Path) -> None:
    packed = tmp_path / "trace.csv.gz"
    packed.write_bytes(gzip.compress(CUDA8.read_bytes(), mtime=0))
    assert read_nvprof(packed).events.equals(read_nvprof(CUDA8).events)


def test_a_gzip_file_that_is_cut_off_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    text = CUDA8.read_text()
    row = text.splitlines()[-1]
    whole = text + "".join(row.replace("0.31", f"{n}.31") + "\n" for n in range(1, 5000))
    packed = gzip.compress(whole.encode(), mtime=0)
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(packed[: len(packed) // 2])
    trace = read_nvprof(path)
    assert 100 < trace.events.height < 5000
    assert any("compressed data ends early" in doubt for doubt in trace.doubts)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_what_consoles_make_of_the_output_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(CUDA8.read_text().replace("\n", "\r\n").encode(encoding))
    assert read_nvprof(path).events.equals(read_nvprof(CUDA8).events)


def test_semicolons_and_decimal_commas_are_understood(tmp_path: Path) -> None:
    lines = []
    for line in CUDA8.read_text().splitlines():
        parts = line.split('"')
        # Outside quotes only: names keep their commas.
        parts[::2] = [part.replace(",", ";").replace(".", ",") for part in parts[::2]]
        lines.append('"'.join(parts))
    path = tmp_path / "german.csv"
    path.write_text("\n".join(lines) + "\n")
    trace = read_nvprof(path)
    assert trace.events.equals(read_nvprof(CUDA8).events)
    assert any("locale" in doubt for doubt in trace.doubts)


def test_commas_of_both_kinds_are_refused(tmp_path: Path) -> None:
    path = changed(tmp_path, "0.3", "0,3")
    with pytest.raises(InputError, match=r"changed\.csv has rows of more fields") as caught:
        read_nvprof(path)
    assert "LC_ALL=C" in caught.value.remedy


def test_without_units_starts_are_chosen_so_that_a_stream_does_not_overlap(tmp_path: Path) -> None:
    path = changed(tmp_path, "s,us,,,,,,,,KB,B,KB,MB/s,,,,\n", "")
    trace = read_nvprof(path)
    known = read_nvprof(CUDA8).events
    assert trace.events["start_ns"].equals(known["start_ns"])
    assert trace.events["duration_ns"].equals(known["duration_ns"])
    assert trace.events["bytes"].null_count() == trace.events.height
    assert any("units" in doubt for doubt in trace.doubts)


def test_another_row_of_units_gives_other_times(tmp_path: Path) -> None:
    path = changed(tmp_path, "\ns,us,,,,,,,,KB,B,KB,", "\nms,ns,,,,,,,,KB,B,MB,")
    events = read_nvprof(path).events
    assert column(events, "start_ns")[0] == 309_511
    assert column(events, "duration_ns")[0] == 123
    assert column(events, "bytes")[0] == 64 * 2**20


def test_unknown_columns_do_no_harm(tmp_path: Path) -> None:
    lines = CUDA8.read_text().splitlines()
    lines[4:] = [f"{line},{new}" for line, new in zip(lines[4:], ['"New"', "", *"xxxxx"])]
    path = tmp_path / "wider.csv"
    path.write_text("\n".join(lines) + "\n")
    assert read_nvprof(path).events.equals(read_nvprof(CUDA8).events)


@pytest.mark.parametrize("kept", [30, 85, 101])
def test_a_last_line_that_is_cut_off_is_left_out(tmp_path: Path, kept: int) -> None:
    text = CUDA8.read_text()
    start = text.rstrip().rfind("\n") + 1
    path = tmp_path / "cut.csv"
    path.write_text(text[: start + min(kept, len(text) - start - 3)])
    trace = read_nvprof(path)
    assert trace.events.height == 4
    assert any("cut off" in doubt for doubt in trace.doubts)


def test_a_whole_last_line_needs_no_end_of_line(tmp_path: Path) -> None:
    path = tmp_path / "whole.csv"
    path.write_text(CUDA8.read_text().rstrip("\n"))
    trace = read_nvprof(path)
    assert trace.events.height == 5
    assert trace.doubts == ()


def test_output_of_the_program_between_rows_costs_only_its_lines(tmp_path: Path) -> None:
    path = changed(tmp_path, "\n0.309701,", '\nhe said "no\nepoch 2, loss 1.9\n0.309701,')
    trace = read_nvprof(path)
    assert trace.events.height == 5
    assert any("unpaired quote" in doubt for doubt in trace.doubts)
    assert any("1 rows without a start" in doubt for doubt in trace.doubts)


def test_a_negative_duration_counts_as_nothing_and_is_told(tmp_path: Path) -> None:
    trace = read_nvprof(changed(tmp_path, ",2.080000,", ",-2.080000,"))
    assert column(trace.events, "duration_ns")[1] == 0
    assert any("1 negative" in doubt for doubt in trace.doubts)


def test_two_processes_in_one_file_each_have_units_of_their_own(tmp_path: Path) -> None:
    text = CUDA8.read_text()
    second = text.replace("2143==", "2144==").replace("\ns,us,", "\nms,us,")
    path = tmp_path / "two.csv"
    path.write_text(text + second)
    trace = read_nvprof(path)
    starts = {
        process: trace.events.filter(pl.col("process") == process)["start_ns"].min()
        for process in (2143, 2144)
    }
    assert starts == {2143: 309_511_000, 2144: 309_511}
    assert any("2 processes" in doubt for doubt in trace.doubts)


def test_small_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = CUDA8.read_text()
    row = text.splitlines()[-1]
    rows = "".join(row.replace("0.311055", f"{n}.311055") + "\n" for n in range(1, 400))
    path = tmp_path / "long.csv"
    path.write_text(text + rows + text.replace("2143==", "9==") + rows)
    whole = read_nvprof(path)
    monkeypatch.setattr(file_text, "PIECE_BYTES", 777)
    parts = read_nvprof(path)
    assert whole.events.height == 2 * (5 + 399)
    assert parts.events.equals(whole.events)
    assert parts.doubts == whole.doubts


def test_a_summary_answers_calls_and_sums_and_says_what_it_cannot() -> None:
    trace = read_nvprof(RECORDED / "nvprof_summary.csv")
    names = trace.events.group_by("name", maintain_order=True).agg(
        pl.len(),
        pl.col("duration_ns").sum(),
        least=pl.col("duration_ns").min(),
        most=pl.col("duration_ns").max(),
    )
    # Sums and Max are in ms, Min in us: 5 ms = 0.5 + 2 + 2 × 1.25; 2.5 ms = 1 + 1.5.
    assert names.rows() == [
        ("volta_sgemm_128x64_nn", 4, 5_000_000, 500_000, 2_000_000),
        ("void at::native::reduce_kernel<int=512>", 2, 2_500_000, 1_000_000, 1_500_000),
        ("[CUDA memcpy HtoD]", 1, 500_000, 500_000, 500_000),
    ]
    assert any("summary" in doubt and "cannot" in doubt for doubt in trace.doubts)
    assert not trace.timed and read_nvprof(CUDA8).timed


def test_a_header_alone_is_a_trace_without_events(tmp_path: Path) -> None:
    path = tmp_path / "header.csv"
    path.write_text("".join(CUDA8.read_text().splitlines(keepends=True)[:6]))
    trace = read_nvprof(path)
    assert trace.events.is_empty()
    assert list(trace.events.columns) == list(SCHEMA)
    assert any("no events" in doubt for doubt in trace.doubts)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("a,b,c\n1,2,3\n", "is not a trace of nvprof"),
        ("==1== Profiling result:\n GPU activities:  62.5%  5.0ms  4\n", "is text that nvprof"),
        ("Starting up, wait, please\n", "is not a trace of nvprof"),
        ("Start," + '"' + "x" * 200_000 + "\n", "is not a trace of nvprof"),
    ],
)
def test_what_is_no_trace_is_named_with_a_remedy(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "some.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=what) as caught:
        read_nvprof(path)
    assert "some.csv" in caught.value.message
    assert "--print-gpu-trace --csv" in caught.value.remedy


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv cannot be read"):
        read_nvprof(tmp_path / "none.csv")


def test_progress_ends_at_the_whole() -> None:
    seen: list[float] = []
    read_nvprof(CUDA8, lambda what, done: seen.append(done))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 10**12),
            st.integers(0, 10**10),
            st.integers(0, 7),
            st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), max_size=30),
        ),
        min_size=1,
        max_size=30,
    ),
)
def test_any_rows_come_back_to_the_nanosecond(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int, str]]
) -> None:
    lines = ['"Start","Duration","Device","Stream","Name"', "ms,us,,,"]
    for start, duration, device, name in rows:
        quoted = ("k" + name).strip().replace('"', '""')
        lines.append(
            f"{start // 10**6}.{start % 10**6:06},{duration // 1000}.{duration % 1000:03},"
            f'"Tesla P100 ({device})","7","{quoted}"'
        )
    path = tmp_path_factory.mktemp("any") / "trace.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    events = read_nvprof(path).events
    found = sorted(events.select("start_ns", "duration_ns", "device").rows())
    assert found == sorted(row[:3] for row in rows)


UNIFIED = (RECORDED / "nvprof_unified.csv").read_text()


def test_bytes_of_moved_pages_stand_in_a_column_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "um.csv"
    path.write_text(UNIFIED)
    trace = read_nvprof(path)
    rows = trace.events.select(
        *(pl.col(name).cast(pl.String) for name in ("kind", "copy_kind")),
        "bytes", "device", "duration_ns",
    ).rows()  # fmt: skip
    assert rows == [
        ("other", None, None, HOST_DEVICE, 0),
        ("other", None, None, 0, 191_940),  # one fault is no byte
        ("kernel", None, None, 0, 575_990),
        ("memcpy", "HtoD", 4096, 0, 1_856),
        ("memcpy", "DtoH", 61_440, 0, 5_728),
    ]
    assert trace.doubts == (
        "2 events of unified memory that move nothing, such as page faults (192 µs), are no work "
        "and counted in no figure",
    )


def test_a_unit_of_that_column_is_read_where_the_file_gives_one(tmp_path: Path) -> None:
    path = tmp_path / "um.csv"
    text = UNIFIED.replace("s,us,,,,,,,,KB,B,,,,,,", "s,us,,,,,,,,KB,B,,,,KB,,")
    path.write_text(text.replace('"4096"', '"4"').replace('"61440"', '"60"'))
    sizes = read_nvprof(path).events["bytes"].drop_nulls()
    assert sizes.to_list() == [4096, 61_440]


SUMMARY_OF_PAGES = (RECORDED / "nvprof_unified_sums.csv").read_text()


def test_the_summary_of_moved_pages(tmp_path: Path) -> None:
    path = tmp_path / "sums.csv"
    path.write_text((RECORDED / "nvprof_summary.csv").read_text() + SUMMARY_OF_PAGES)
    events = read_nvprof(path).events
    moved = events.filter(pl.col("bytes").is_not_null())
    assert column(moved, "copy_kind") == ["HtoD"] * 3
    assert sum(moved["bytes"]) == 512 * 1024
    assert sum(moved["duration_ns"]) == 843_866
    faults = events.filter(pl.col("name").cast(pl.String) == "Gpu page fault groups")
    assert set(column(faults, "kind")) == {"other"}
    # The sums of other copies give no bytes: unknown, not 0.
    copies = events.filter(pl.col("name").cast(pl.String) == "[CUDA memcpy HtoD]")
    assert column(copies, "bytes") == [None]


def test_metrics_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(
        "==9== NVPROF is profiling process 9\n==9== Metric result:\n"
        '"Device","Kernel","Invocations","Metric Name","Metric Description","Min","Max","Avg"\n'
    )
    with pytest.raises(InputError, match="a table of metrics, not of times"):
        read_trace(path)
