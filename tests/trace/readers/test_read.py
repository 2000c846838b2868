"""Traces of any format, told by what a file holds: one or many, from files and folders."""

import gzip
import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from topout.errors import InputError
from topout.trace.readers.kineto import read_kineto
from topout.trace.readers.read import format_of, read_trace, read_traces

from .kineto_files import training_trace

RECORDED = Path(__file__).parent / "recorded"


def ranks(folder: Path, numbers: range | list[int], world_size: int) -> Path:
    folder.mkdir(exist_ok=True)
    for rank in numbers:
        writer = training_trace(rank=rank, world_size=world_size, steps=1)
        writer.save(folder / f"worker{rank}.json.gz")
    return folder


@pytest.mark.parametrize(
    ("name", "format"),
    [("nvprof_cuda8.csv", "nvprof_csv"), ("nsys_gpu_trace.csv", "nsys_csv")],
)
def test_each_format_has_its_reader(name: str, format: str) -> None:
    assert read_trace(RECORDED / name).format == format


def test_a_kineto_file(tmp_path: Path) -> None:
    path = training_trace().save(tmp_path / "table.csv")
    assert_frame_equal(read_trace(path).events, read_kineto(path).events)


def test_a_folder_of_ranks(tmp_path: Path) -> None:
    folder = ranks(tmp_path / "run", range(12), 12)
    traces = read_traces([folder])
    assert [trace.rank for trace in traces] == list(range(12))
    assert all(trace.doubts == () for trace in traces)


def test_other_files_in_a_folder_are_left_out_and_named(tmp_path: Path) -> None:
    folder = ranks(tmp_path / "run", range(2), 2)
    (folder / "notes.txt").write_text("slow today")
    (folder / "run.json").write_text(json.dumps({"kind": "train"}))
    (folder / ".hidden").write_text("x")
    (folder / "deeper").mkdir()
    shutil.move(folder / "worker1.json.gz", folder / "deeper" / "worker1.json.gz")
    traces = read_traces([folder])
    assert [trace.rank for trace in traces] == [0, 1]
    (doubt,) = traces[0].doubts
    assert "notes.txt" in doubt
    assert "run.json" in doubt
    assert ".hidden" not in doubt


def test_a_file_that_is_named_must_be_a_trace(tmp_path: Path) -> None:
    folder = ranks(tmp_path / "run", range(2), 2)
    notes = folder / "notes.txt"
    notes.write_text("slow today")
    with pytest.raises(InputError, match=r"notes\.txt is not a trace"):
        read_traces([folder, notes])
    with pytest.raises(InputError, match=r"notes\.txt is not a trace"):
        read_traces([notes, folder])


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no trace is given"):
        read_traces([])
    with pytest.raises(InputError, match="does not exist"):
        read_traces([tmp_path / "none"])
    with pytest.raises(InputError, match="is empty"):
        read_traces([tmp_path])
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(InputError, match=r"none of the 1 files .* \(a.txt\)"):
        read_traces([tmp_path])


def test_a_file_is_read_once_however_it_is_named(tmp_path: Path) -> None:
    folder = ranks(tmp_path / "run", range(2), 2)
    link = tmp_path / "link.json.gz"
    link.symlink_to(folder / "worker0.json.gz")
    assert len(read_traces([folder, folder / "worker0.json.gz", link])) == 2


def test_progress_counts_the_bytes_of_all_files(tmp_path: Path) -> None:
    told: list[float] = []
    read_traces([ranks(tmp_path / "run", range(3), 3)], lambda what, done: told.append(done))
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)


def test_an_interrupt_ends_the_reading_of_all(tmp_path: Path) -> None:
    folder = ranks(tmp_path / "run", range(8), 8)

    def interrupt(what: str, done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_traces([folder], interrupt)


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("nvprof_cuda8.csv", "nvprof_csv"),
        ("nvprof_cuda11_peers.csv", "nvprof_csv"),
        ("nvprof_summary.csv", "nvprof_csv"),
        ("nsys_gpu_trace.csv", "nsys_csv"),
        ("nsys_kern_sum.csv", "nsys_csv"),
    ],
)
def test_tables(tmp_path: Path, name: str, format: str) -> None:
    plain = tmp_path / "any.json"  # its name says nothing
    shutil.copy(RECORDED / name, plain)
    assert format_of(plain) == format
    for packed in (
        gzip.compress(plain.read_bytes(), mtime=0),
        plain.read_text().encode("utf-16"),
        b"\xef\xbb\xbf" + plain.read_bytes(),
    ):
        path = tmp_path / "other"
        path.write_bytes(packed)
        assert format_of(path) == format


def test_headers_alone(tmp_path: Path) -> None:
    path = tmp_path / "table"
    for header, format in (
        ("Start (ns),Duration (ns),CorrId,Name", "nsys_csv"),
        ('"Start (ns)";"Duration (ns)";"Name"', "nsys_csv"),
        ('"Start","Duration","Grid X"', "nvprof_csv"),
        ("==12== Profiling result:", "nvprof_csv"),
    ):
        path.write_text(header)
        assert format_of(path) == format


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a.csv"])
def test_json(tmp_path: Path, name: str) -> None:
    assert format_of(training_trace().save(tmp_path / name)) == "kineto"


def test_a_bare_array_behind_white_space_and_nuls(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbf\0\0 \n[]")
    assert format_of(path) == "kineto"


def test_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE StringIds (id, value)")
    database.close()
    assert format_of(path) == "nsys_sqlite"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "it is empty"),
        (b" \n", "white space alone"),
        (b"\0\0", "NUL bytes alone"),
        (b"name,age\n1,2\n", "it begins with 'name,age'"),
        (b"\x7fELF\x02\x01", "it is binary"),
        (b"\x1f\x8b\x08\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff", "damaged"),
    ],
)
def test_anything_else_is_refused_by_name(tmp_path: Path, data: bytes, found: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(InputError) as refused:
        format_of(path)
    assert str(path) in refused.value.message
    assert found in refused.value.message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        format_of(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "text", "what", "remedy"),
    [
        ("et.json", '{"schema": "1.1.1-chakra.0.0.4", "pid": 7, "time": "2026", "nodes": [',
         "an execution trace (Chakra)", "export_chrome_trace"),
        ("et.json", '{\n  "schema": "1.0.1", "pid": 1,\n "nodes": []}', "(Chakra)", "profiler"),
        ("rank0.et", "\x0a\x05", "an execution trace (Chakra)", "torch.profiler"),
        ("a.nsys-rep", "QDSTRM", "a report of Nsight Systems", "nsys export"),
        ("a.ncu-rep", "NVR", "a report of Nsight Compute", "nsys profile"),
        ("h.xplane.pb", "\x0a\x01", "a profile of JAX", "trace.json.gz"),
        ("a.pftrace", "\x0a\x01", "a trace of Perfetto", "json"),
        ("a_agent_info.csv", '"Node_Id","Logical_Node_Id","Agent_Type"\n', "agents", "kernel"),
    ],
)  # fmt: skip
def test_what_holds_no_times_is_refused_by_name_with_what_to_record(
    tmp_path: Path, name: str, text: str, what: str, remedy: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        read_trace(path)
    assert what in refused.value.message
    assert remedy in (refused.value.remedy or "")


def test_a_trace_that_speaks_of_schemas_and_nodes_is_none_of_those(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"schema": "1.0.1", "nodes": [], "traceEvents": []}')
    assert format_of(path) == "kineto"


def test_a_database_of_rocprofv3_is_refused_by_name(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "x.db")
    database.execute("CREATE TABLE rocpd_kernel_dispatch_1 (id)")
    database.close()
    with pytest.raises(InputError, match=r"a database of rocprofv3 \(rocpd\)"):
        read_trace(tmp_path / "x.db")


@pytest.mark.parametrize(("name", "rank"), [("sums.csv", None), ("run-rank3.csv", 3)])
def test_the_rank_in_the_name_of_any_file(tmp_path: Path, name: str, rank: int | None) -> None:
    path = tmp_path / name
    path.write_bytes((RECORDED / "nvprof_cuda8.csv").read_bytes())
    assert read_trace(path).rank == rank
