"""Traces that claim what cannot be: times, sizes and counts beyond physics, tables without end."""

import gzip
import itertools
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.trace.readers.test_nsys_sqlite import SCRIPT, database
from topout.errors import InputError
from topout.kernels.trace_ops import NativeScan
from topout.trace.readers import nsys_database
from topout.trace.readers.kineto_scan import PythonScan
from topout.trace.readers.kineto_table import FIELDS
from topout.trace.readers.memory_budget import MemoryBudget
from topout.trace.readers.read import read_trace, read_traces

WEEK_NS = 7 * 86_400 * 10**9


def kineto(path: Path, *events: str) -> Path:
    """A trace whose events are given as the JSON that follows their name and phase."""
    lines = [
        f'{{"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, {e}}}' for e in events
    ]
    path.write_text(f'{{"schemaVersion": 1, "traceEvents": [{", ".join(lines)}]}}')
    return path


@pytest.mark.parametrize(
    "duration", ["NaN", "Infinity", "1e308", "-1e308", '"long"', "null", "1e30"]
)
def test_a_duration_that_is_none_costs_its_event(duration: str, tmp_path: Path) -> None:
    path = kineto(tmp_path / "t.json", '"ts": 1, "dur": 2', f'"ts": 5, "dur": {duration}')
    trace = read_trace(path)
    assert trace.events["duration_ns"].to_list() == [2000]
    assert any(doubt.startswith("1 event without a duration") for doubt in trace.doubts)


def test_a_week_is_read_and_more_is_not(tmp_path: Path) -> None:
    path = kineto(
        tmp_path / "t.json",
        f'"ts": 0, "dur": {WEEK_NS // 1000}',
        f'"ts": 0, "dur": {WEEK_NS // 1000}.001',
    )
    assert read_trace(path).events["duration_ns"].to_list() == [WEEK_NS]


def test_a_start_that_no_clock_shows_costs_its_event(tmp_path: Path) -> None:
    path = kineto(tmp_path / "t.json", '"ts": 1, "dur": 2', f'"ts": {2**62 // 1000 + 1}, "dur": 2')
    assert read_trace(path).events["start_ns"].to_list() == [1000]


def test_durations_that_add_up_to_more_than_63_bits_are_refused(tmp_path: Path) -> None:
    # 2⁶² ns are 7,625.2 weeks.
    events = [f'"ts": 0, "dur": {WEEK_NS // 1000}'] * 7_626
    assert read_trace(kineto(tmp_path / "t.json", *events[:7_625])).events.height == 7_625
    with pytest.raises(InputError, match="add up to more than 146 years"):
        read_trace(kineto(tmp_path / "t.json", *events))


def test_a_size_that_no_memory_has_is_unknown(tmp_path: Path) -> None:
    path = kineto(
        tmp_path / "t.json",
        f'"ts": 1, "dur": 2, "args": {{"bytes": {2**48}}}',
        f'"ts": 2, "dur": 2, "args": {{"bytes": {2**48 + 1}}}',
    )
    trace = read_trace(path)
    assert trace.events["bytes"].to_list() == [2**48, None]
    assert "1 size beyond 256 TiB: taken as unknown." in trace.doubts


@pytest.mark.parametrize("duration", ["nan", "inf", "1e308", "1e30"])
def test_rows_of_a_table_are_held_to_the_same(duration: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "Start (ns),Duration (ns),CorrId,Device,Strm,Name\n1,20,1,GPU (0),7,k\n"
        f"50,{duration},2,GPU (0),7,k\n99,{WEEK_NS + 1},3,GPU (0),7,k\n"
    )
    trace = read_trace(path)
    assert trace.events["duration_ns"].to_list() == [20]
    assert sum("left out" in doubt for doubt in trace.doubts) == 2


def test_an_end_that_no_clock_shows_costs_its_row(tmp_path: Path) -> None:
    path = database(
        tmp_path, SCRIPT, f"UPDATE CUPTI_ACTIVITY_KIND_MEMSET SET start = {-(2**62)}, end = {2**62}"
    )
    events = read_trace(path).events
    assert events.filter(pl.col("kind") == "memset").is_empty()
    assert events.filter(pl.col("kind") == "kernel").height == 2


def test_values_of_another_type_than_their_column_say_nothing(tmp_path: Path) -> None:
    path = database(
        tmp_path,
        SCRIPT,
        "INSERT INTO StringIds VALUES (900000, x'00ff')",
        "UPDATE CUPTI_ACTIVITY_KIND_MEMSET SET bytes = 1e308",
        "UPDATE CUPTI_ACTIVITY_KIND_MEMCPY SET deviceId = 1099511627776, streamId = 'seven'",
    )
    events = read_trace(path).events
    assert events.filter(pl.col("kind") == "memset")["bytes"].to_list() == [None]
    assert events.filter(pl.col("kind") == "memcpy")["stream"].to_list() == [None, None]


def test_views_and_virtual_tables_are_not_read(tmp_path: Path) -> None:
    path = database(
        tmp_path,
        SCRIPT,
        "DROP TABLE CUPTI_ACTIVITY_KIND_MEMSET",
        "CREATE VIEW CUPTI_ACTIVITY_KIND_MEMSET AS WITH RECURSIVE n(start) AS "
        "(SELECT 1 UNION ALL SELECT start + 1 FROM n) SELECT start, start + 1 AS end FROM n",
        "DROP TABLE NVTX_EVENTS",
        "CREATE VIRTUAL TABLE NVTX_EVENTS USING fts5(text, start, end)",
    )
    events = read_trace(path).events
    assert set(events["kind"].cast(pl.String)) == {"kernel", "memcpy", "gpu_sync", "runtime"}


def test_a_database_of_more_steps_than_its_size_needs_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages that point at each other give rows without end; here a step is worth more."""
    path = database(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE CUPTI_ACTIVITY_KIND_GRAPH_TRACE (start, end);"
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) "
            "INSERT INTO CUPTI_ACTIVITY_KIND_GRAPH_TRACE SELECT i, i + 1 FROM n"
        )
    assert read_trace(path).events.height > 100_000
    monkeypatch.setattr(nsys_database, "_STEPS_PER_BYTE", 0)
    monkeypatch.setattr(nsys_database, "_STEPS_OF_ANY_FILE", 200_000)
    trace = read_trace(path)
    assert trace.events.height < 100_000
    assert any("interrupted" in doubt for doubt in trace.doubts)


def test_a_value_longer_than_any_name_ends_its_table(tmp_path: Path) -> None:
    path = database(
        tmp_path, SCRIPT, "INSERT INTO StringIds VALUES (900000, hex(zeroblob(9000000)))"
    )
    trace = read_trace(path)
    assert any("too big" in doubt for doubt in trace.doubts)


# --- memory -------------------------------------------------------------------------------------


def test_what_needs_more_memory_than_it_may_take_is_refused(tmp_path: Path) -> None:
    event = '{"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": 1, "dur": 2},'
    text = f'{{"schemaVersion": 1, "traceEvents": [{event * 200_000}{event[:-1]}]}}'
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert path.stat().st_size < 60_000
    # 200,001 events of 512 bytes are 97.7 MiB.
    with pytest.raises(InputError, match=r"and 19\.1 MiB may be taken: [\d.]+ MiB more") as refused:
        read_traces([path], max_memory_bytes=20_000_000)
    assert "--max-memory" in str(refused.value)
    assert read_traces([path], max_memory_bytes=200_000_000)[0].events.height == 200_001


def test_a_summary_of_more_calls_than_memory_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    path.write_text(
        "Time (%),Total Time (ns),Instances,Avg (ns),Min (ns),Max (ns),Name\n"
        "100.0,9000000000000000,9000000000000000,1,1,1,k\n"
    )
    with pytest.raises(InputError, match=r"csv needs about .* TiB of memory"):
        read_traces([path], max_memory_bytes=10**9)


def test_all_files_together_share_the_memory() -> None:
    budget = MemoryBudget(100)
    one, other = budget.of(Path("one")), budget.of(Path("other"))
    one(60, 0.5)
    other(40, 1.0)
    # 60 bytes of a half and 41 of all: 161 in all, 61 more than 100.
    with pytest.raises(InputError, match=r"other and 1 more need about 161 B .* 61 B more"):
        other(41, 1.0)


def test_half_of_what_is_free_may_be_taken_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    class Free:
        available = 1000

    monkeypatch.setattr("psutil.virtual_memory", Free)
    assert MemoryBudget().most_bytes == 500


def test_both_scans_count_the_bytes_of_their_strings() -> None:
    names = ["a", "bb", "a", "ccc"]
    event: dict[str, Any] = {"ph": "X", "ts": 1, "dur": 1}
    text = json.dumps({"traceEvents": [event | {"name": name} for name in names]}).encode()
    counts = []
    for scan in (PythonScan(FIELDS), NativeScan(FIELDS)):
        scan.feed(text)
        scan.finish()
        counts.append(scan.string_bytes)
        scan.close()
    assert counts == [len("a" + "bb" + "ccc")] * 2


def test_names_that_were_chosen_to_collide_do_not() -> None:
    """Under a hash without a key these would share one chain: the square of 2^14 comparisons."""
    top = (b"\x00" * 7 + b"\x80", b"\x00" * 4 + b"\x04" + b"\x00" * 2 + b"\x80")
    pairs = [
        (
            b"aaaaaaaabbbbbbbb",
            bytes(x ^ y for x, y in zip(b"aaaaaaaabbbbbbbb", top[0] + top[1], strict=True)),
        )
    ]
    names = {b"".join(parts) for parts in itertools.product(*pairs * 14)}
    event = b'{"ph": "X", "ts": 1, "dur": 1, "name": "%b"}'
    scan = NativeScan(FIELDS)
    scan.feed(b'{"traceEvents": [' + b",".join(event % name for name in names) + b"]}")
    scan.finish()
    assert len(scan.strings()) == len(names) == 2**14
    scan.close()
