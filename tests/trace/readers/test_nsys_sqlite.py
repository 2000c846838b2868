"""Nsight Systems' SQLite export: tables that may be missing, devices by process, damage."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

import topout
from topout.errors import InputError
from topout.report import describe
from topout.trace.readers.nsys_sqlite import read_nsys_sqlite
from topout.trace.table import SCHEMA

SCRIPT = (Path(__file__).parent / "recorded" / "nsys_export.sql").read_text()


def database(tmp_path: Path, script: str = SCRIPT, *more: str) -> Path:
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "export.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
        for statement in more:
            connection.execute(statement)
        connection.commit()
    return path


def of_kind(events: pl.DataFrame, kind: str) -> pl.DataFrame:
    return events.filter(pl.col("kind") == kind)


def test_kernels_have_their_whole_names_and_the_machines_devices(tmp_path: Path) -> None:
    trace = read_nsys_sqlite(database(tmp_path))
    kernels = of_kind(trace.events, "kernel")
    # Each process calls its device 0; process 100 has GPU 1, process 200 has GPU 0.
    assert kernels.select("start_ns", "duration_ns", "device", "process", "correlation").rows() == [
        (1000, 2500, 1, 100, 11),
        (1200, 3000, 0, 200, 11),
    ]
    assert str(kernels["name"][0]).startswith("void cutlass::Kernel2<")
    assert kernels["collective"].to_list() == [None, "all_reduce"]
    # 54 blocks on 108 multiprocessors; 240 fill them.
    assert kernels["sm_share"].to_list() == [0.5, 1.0]


def test_copies_and_fills(tmp_path: Path) -> None:
    events = read_nsys_sqlite(database(tmp_path)).events
    copies = of_kind(events, "memcpy")
    columns = ("copy_kind", "bytes", "device", "from_device", "to_device", "stream")
    assert copies.select(pl.col(columns[0]).cast(pl.String), *columns[1:]).rows() == [
        ("HtoD", 4096, 1, None, None, 7),
        ("PtoP", 65536, 0, 0, 1, 8),
    ]
    assert copies["name"].cast(pl.String).to_list() == ["[CUDA memcpy HtoD]", "[CUDA memcpy PtoP]"]
    assert of_kind(events, "memset").select("start_ns", "duration_ns", "bytes").rows() == [
        (920, 10, 512)
    ]


def test_waits_calls_and_ranges(tmp_path: Path) -> None:
    trace = read_nsys_sqlite(database(tmp_path))
    wait = of_kind(trace.events, "gpu_sync").row(0, named=True)
    assert (wait["name"], wait["stream"], wait["device"]) == ("Context Synchronize", None, 1)
    call = of_kind(trace.events, "runtime").row(0, named=True)
    assert (call["name"], call["correlation"]) == ("cudaLaunchKernel_v7000", 11)
    assert (call["process"], call["thread"], call["device"]) == (100, 101, -1)
    ranges = of_kind(trace.events, "annotation")
    assert ranges.select("start_ns", "duration_ns").rows() == [(50, 5750), (60, 340)]
    assert ranges["name"].cast(pl.String).to_list() == ["forward", "step <1>"]
    assert trace.doubts == ("1 NVTX ranges without an end were left out",)


def test_the_machine_and_the_recording(tmp_path: Path) -> None:
    trace = read_nsys_sqlite(database(tmp_path))
    assert trace.host == "node7"
    assert trace.origin_ns == 1_700_000_000_000_000_000
    assert trace.versions == {"nsys": "2025.1.3", "schema": "3.18.4"}
    (first, second) = trace.devices
    assert (first.number, second.number) == (0, 1)
    assert first.multiprocessors == 108
    assert first.memory_bytes == 42_285_268_992
    assert first.compute_capability == "8.0"


MINIMAL = """
CREATE TABLE StringIds (id INTEGER, value TEXT);
CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER, deviceId INTEGER,
  shortName INTEGER);
INSERT INTO StringIds VALUES (1, 'sgemm');
INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (10, 30, 2, 1);
"""


def test_columns_and_tables_that_a_version_lacks_are_null(tmp_path: Path) -> None:
    trace = read_nsys_sqlite(database(tmp_path, MINIMAL))
    (row,) = trace.events.iter_rows(named=True)
    assert (row["start_ns"], row["duration_ns"], row["device"], row["name"]) == (10, 20, 2, "sgemm")
    assert (row["stream"], row["correlation"], row["process"], row["sm_share"]) == (None,) * 4
    assert trace.devices == ()
    assert trace.doubts == ()


def test_tables_without_rows_are_a_trace_without_events(tmp_path: Path) -> None:
    path = database(tmp_path, MINIMAL, "DELETE FROM CUPTI_ACTIVITY_KIND_KERNEL")
    trace = read_nsys_sqlite(path)
    assert trace.events.is_empty()
    assert list(trace.events.columns) == list(SCHEMA)
    assert any("no kernel" in doubt for doubt in trace.doubts)


def test_faulty_rows_are_mended_and_told(tmp_path: Path) -> None:
    insert = "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES"
    path = database(
        tmp_path,
        MINIMAL,
        f"{insert} (50, 40, 2, 1)",
        f"{insert} (NULL, 60, 2, 1)",
        f"{insert} (70, 80, 2, 99)",
    )
    trace = read_nsys_sqlite(path)
    assert trace.events["duration_ns"].to_list() == [20, 0, 10]
    assert str(trace.events["name"][2]) == "(name not in the file)"
    assert any("1 rows" in doubt and "without a start" in doubt for doubt in trace.doubts)
    assert any("1 negative" in doubt for doubt in trace.doubts)


def test_graphs_recorded_whole_are_work_whose_kernels_are_not_known(tmp_path: Path) -> None:
    path = database(
        tmp_path,
        MINIMAL,
        "CREATE TABLE CUPTI_ACTIVITY_KIND_GRAPH_TRACE (start INTEGER, end INTEGER, "
        "deviceId INTEGER, streamId INTEGER, graphId INTEGER)",
        "INSERT INTO CUPTI_ACTIVITY_KIND_GRAPH_TRACE VALUES (100, 900, 2, 7, 5)",
    )
    trace = read_nsys_sqlite(path)
    graph = of_kind(trace.events, "kernel").row(1, named=True)
    assert (graph["name"], graph["duration_ns"]) == ("[CUDA graph 5]", 800)
    assert any("--cuda-graph-trace=node" in doubt for doubt in trace.doubts)


def test_ranges_alone_hold_no_cuda(tmp_path: Path) -> None:
    path = database(
        tmp_path,
        "CREATE TABLE StringIds (id INTEGER, value TEXT);"
        "CREATE TABLE NVTX_EVENTS (start INTEGER, end INTEGER, text TEXT);",
    )
    with pytest.raises(InputError, match="a trace of Nsight Systems without CUDA") as caught:
        read_nsys_sqlite(path)
    assert "--trace=cuda" in caught.value.remedy


def test_another_database_is_no_trace(tmp_path: Path) -> None:
    path = database(tmp_path, "CREATE TABLE songs (id INTEGER);")
    with pytest.raises(InputError, match=r"export\.sqlite is no trace of Nsight Systems"):
        read_nsys_sqlite(path)


def test_nvprofs_own_database_is_named(tmp_path: Path) -> None:
    path = database(tmp_path, MINIMAL, "CREATE TABLE StringTable (_id_ INTEGER, value TEXT)")
    with pytest.raises(InputError, match="nvprof's own database") as caught:
        read_nsys_sqlite(path)
    assert "nvprof -i" in caught.value.remedy


def test_what_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "some.sqlite"
    path.write_bytes(b"SQLite format 3\0" + b"nonsense" * 200)
    with pytest.raises(InputError, match=r"some\.sqlite is not an SQLite database or is damaged"):
        read_nsys_sqlite(path)
    with pytest.raises(InputError, match="is not a file"):
        read_nsys_sqlite(tmp_path / "none.sqlite")


def test_a_file_that_is_cut_off_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "cut.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(MINIMAL)
        connection.executemany(
            "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?, ?, 2, 1)",
            [(100 * i, 100 * i + 50) for i in range(200_000)],
        )
        connection.commit()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    trace = read_nsys_sqlite(path)
    assert 50_000 < trace.events.height < 200_000
    assert any("CUPTI_ACTIVITY_KIND_KERNEL is damaged" in doubt for doubt in trace.doubts)


def test_reading_changes_nothing_in_the_folder(tmp_path: Path) -> None:
    path = database(tmp_path)
    before = path.read_bytes()
    read_nsys_sqlite(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["export.sqlite"]


# --- values that SQLite keeps and no column of numbers holds --------------------------------------

VALUES = {
    "a large device": str(1 << 40),
    "the most": str((1 << 63) - 1),
    "the least": str(-(1 << 63)),
    "a text": "'seven'",
    "digits": "'7'",
    "a blob": "x'00ff'",
    "infinity": "9e999",
    "a fraction": "0.5",
    "a large fraction": "1e308",
    "nothing": "NULL",
}
TABLES = re.findall(r"^CREATE TABLE (\w+)", SCRIPT, re.MULTILINE)
# As exporters declare none: any value goes into any column.
LOOSE = re.sub(r" (INTEGER|TEXT)( NOT NULL)?( PRIMARY KEY)?", "", SCRIPT)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("table", TABLES)
def test_a_trace_is_read_whatever_a_table_holds(
    table: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All columns of its first row; what else the file holds is there, and analysed."""
    monkeypatch.setenv("TOPOUT_HOME", str(tmp_path / "runs"))
    (columns,) = re.findall(rf"^CREATE TABLE {table} \((.*)\);", LOOSE, re.MULTILINE)
    changes = ", ".join(f"{name.strip()} = {value}" for name in columns.split(","))
    first = f"SELECT min(rowid) FROM {table}"
    path = database(tmp_path, LOOSE, f"UPDATE {table} SET {changes} WHERE rowid = ({first})")
    trace = read_nsys_sqlite(path)
    assert trace.events.height >= 5 and list(trace.events.columns) == list(SCHEMA)
    report = describe(topout.report_trace(paths=[path])[0])
    assert report.title


def test_what_could_not_be_read_is_told_with_its_number(tmp_path: Path) -> None:
    insert = "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES"
    loose = MINIMAL.replace(" INTEGER", "")
    rows = [f"{insert} (50, 55, {1 << 40}, 'x')", f"{insert} (60, 70, 2, x'00')"]
    trace = read_nsys_sqlite(database(tmp_path, loose, *rows))
    assert trace.events["start_ns"].to_list() == [10, 50, 60]
    assert trace.events["device"].to_list() == [2, None, 2]
    assert any(
        doubt == "3 values of CUPTI_ACTIVITY_KIND_KERNEL are of another type or out of range"
        for doubt in trace.doubts
    )


def test_a_text_of_many_megabytes_is_no_name(tmp_path: Path) -> None:
    path = database(tmp_path, MINIMAL, "UPDATE StringIds SET value = hex(zeroblob(9000000))")
    trace = read_nsys_sqlite(path)
    assert trace.events["name"].cast(pl.String).to_list() == ["(name not in the file)"]
    assert any("StringIds is damaged" in doubt for doubt in trace.doubts)


@pytest.mark.parametrize("name", ["NVTX_PUSHPOP_RANGES", "NVTX_RANGES"])
def test_ranges_under_another_name(tmp_path: Path, name: str) -> None:
    usual = read_nsys_sqlite(database(tmp_path))
    renamed = database(tmp_path / "other", SCRIPT, f"ALTER TABLE NVTX_EVENTS RENAME TO {name}")
    assert read_nsys_sqlite(renamed).events.equals(usual.events)
