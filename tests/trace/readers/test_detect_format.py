"""The format of a file by what it holds."""

import gzip
import shutil
import sqlite3
from pathlib import Path

import pytest

from topout.errors import InputError
from topout.trace.readers.detect_format import format_of

from .kineto_files import training_trace

RECORDED = Path(__file__).parent / "recorded"


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
