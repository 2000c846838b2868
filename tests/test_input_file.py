"""Files that a user names: no wait without end, no device, no more than a bound, no key twice."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout import input_file
from topout.errors import TopoutError
from topout.gemm.sources import check_source
from topout.input_file import MOST_DEPTH, is_there, open_input, parse_json, read_input
from topout.machine.catalog.find import read_hardware
from topout.models.checkpoint import read_header
from topout.models.config import read_json_object
from topout.models.text import read_text
from topout.records import read
from topout.trace.analysis.groups import load_rules
from topout.trace.readers.nsys_sqlite import read_nsys_sqlite
from topout.trace.readers.read import read_trace, read_traces
from topout.train.rows import read_rows
from topout.verbs.trace import report_trace

READERS = {
    "record": read,
    "machine": read_hardware,
    "config": read_json_object,
    "text": read_text,
    "rules": load_rules,
    "trace": read_trace,
    "database": read_nsys_sqlite,
    "weights": read_header,
    "source": check_source,
    "rows": lambda path: read_rows(path, "text", None),
}


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_pipe_that_nothing_writes_to_is_refused_at_once(reader, fifo):
    done = []

    def ask():
        with pytest.raises(TopoutError) as refused:
            reader(fifo)
        done.append(refused.value)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive() and done and str(fifo) in str(done[0])


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/random", "/dev/null"])
def test_a_device_is_refused(reader, device, tmp_path):
    path = tmp_path / "device.jsonl"
    path.symlink_to(device)
    with pytest.raises(TopoutError) as refused:
        reader(path)
    assert str(path) in str(refused.value)


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Callable[[str, bytes], Path]]:
    """Makes a path of what a program writes to a pipe, as `<(…)` does."""
    ends: list[int] = []

    def make(name: str, data: bytes) -> Path:
        reading, writing = os.pipe()
        ends.append(reading)
        path = tmp_path / name
        path.symlink_to(f"/proc/self/fd/{reading}")

        def write() -> None:
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(data)

        threading.Thread(target=write, daemon=True).start()
        return path

    yield make
    for end in ends:
        os.close(end)


def test_what_a_pipe_gives_is_read_to_its_end(written):
    words = b"words and more words\n" * 10_000  # more than a pipe holds at a time
    assert read_text(written("text", words)) == words.decode()


def test_rows_come_from_a_pipe_too(written):
    rows = b'{"text": "one"}\n{"text": "two"}\n'
    assert read_rows(written("rows.jsonl", rows), "text", None).texts == ["one", "two"]
    table = b"text,label\none,1\n"
    assert read_rows(written("rows.csv", table), "text", "label").labels == ["1"]


def test_a_writer_that_gives_nothing_is_given_up(fifo, monkeypatch):
    monkeypatch.setattr(input_file, "PIPE_SILENCE_S", 0.01)
    writer = os.open(fifo, os.O_RDWR)
    try:
        with pytest.raises(OSError, match=r"nothing was written to this pipe for 0\.01 s"):
            read_input(fifo, 100)
    finally:
        os.close(writer)


def test_what_is_read_twice_is_no_pipe(fifo):
    with pytest.raises(OSError, match="write it to a file first"):
        open_input(fifo, again=True)


def test_a_folder_is_no_file_and_leaves_nothing_open(tmp_path):
    before = list(Path("/proc/self/fd").iterdir())
    for _ in range(10):
        with pytest.raises(OSError, match="directory"):
            open_input(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) <= len(before)


def test_no_more_than_the_bound_is_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_input(path, 100) == b"x" * 100
    with pytest.raises(OSError, match="holds more than 0 MiB"):
        read_input(path, 99)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands twice"),
        ('[{"a": 1, "\\u0061": 2}]', "'a' stands twice"),
        ("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1), f"more than {MOST_DEPTH} levels"),
        ('{"a":' * 100 + "1" + "}" * 100, f"more than {MOST_DEPTH} levels"),
        ("[" * 1_000_000, f"more than {MOST_DEPTH} levels"),
        ("9" * 5000, "digits"),
        ('{"a": 1' + "0" * 308 + "}", "more than 308 digits"),
        ('{"a"', "delimiter"),
    ],
)
def test_json_that_is_refused_says_why(text, said):
    with pytest.raises(ValueError, match=said):
        parse_json(text)


def test_the_deepest_json_that_is_read():
    assert parse_json("[" * MOST_DEPTH + "]" * MOST_DEPTH)
    assert parse_json('[1, "a", null, {"b": {}}, Infinity]')[3] == {"b": {}}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(json_values)
def test_other_json_is_what_python_reads(value):
    import json

    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "\udcff" * 300])
def test_what_no_path_can_be_is_not_there(name, tmp_path):
    assert not is_there(tmp_path / name)
    for ask in (read_traces, lambda paths: report_trace(paths=paths)):
        with pytest.raises(TopoutError):
            ask([tmp_path / name])


def test_the_command_line_refuses_a_pipe_that_nothing_writes_to(fifo):
    asked = [sys.executable, "-m", "topout", "trace", str(fifo)]
    ended = subprocess.run(asked, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert "is read twice" in ended.stderr and "Traceback" not in ended.stderr
