"""The seam to the scanner of traces; what it reads is tested beside the reader in Python."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from topout.errors import CompilerError, UnsupportedError
from topout.kernels import trace_ops
from topout.kernels.build import SOURCE_FOLDER, find_compiler
from topout.kernels.trace_ops import FIXED_FIELDS, Field, NativeScan, scan_library

from .sanitized import SANITIZERS, check_sanitized

SCANNER = SOURCE_FOLDER / "trace_scan.cpp"
DRIVER = Path(__file__).with_name("trace_driver.cpp")
FIELDS = [
    Field("phase", ("ph",), False, "text"),
    Field("category", ("cat",), False, "text"),
    Field("start", ("ts",), False, "number", 3),
    Field("duration", ("dur",), False, "number", 3),
    Field("name", ("name",), False, "text"),
    Field("device", ("device", "Device"), True, "number"),
]


@pytest.fixture(autouse=True)
def compiler() -> None:
    try:
        find_compiler()
    except CompilerError as error:
        pytest.skip(str(error))


def test_the_seam_names_every_native_function() -> None:
    exported = set(re.findall(r"\b(topout_trace_[a-z_]+)\(", SCANNER.read_text()))
    assert exported == set(trace_ops._ABI)


def test_the_seam_has_the_enumerations_of_the_source() -> None:
    text = SCANNER.read_text() + (SOURCE_FOLDER / "trace_fields.h").read_text()
    for name, members in (
        ("Count", (*trace_ops._COUNTED, "count_kinds")),
        ("class Stage", trace_ops._STAGES),
        ("class Form", trace_ops._FORMS),
    ):
        found = re.search(rf"enum {name} {{([^}}]*)}}", text)
        assert found is not None
        assert tuple(word.strip() for word in found[1].split(",")) == members
    fixed = re.search(r"enum FixedField {([^}]*)}", text)
    assert fixed is not None
    assert tuple(re.findall(r"(\w+)_field", fixed[1])) == FIXED_FIELDS
    assert tuple(field.name for field in FIELDS[: len(FIXED_FIELDS)]) == FIXED_FIELDS


def test_columns_strings_and_members() -> None:
    with NativeScan(FIELDS) as scan:
        scan.feed(b'{"a": [1], "traceEvents": [{"ph": "X", "ts": 2.0005, "name": "x\\n"},')
        scan.feed(b'{"ph": "X", "ts": 1, "name": "y", "args": {"Device": "4"}}], "b": "\\""}')
        scan.finish()
        assert (scan.stage, scan.has_events, scan.rows) == ("done", True, 2)
        assert scan.counts["entries"] == 2
        assert scan.members() == [(b"a", b"[1]"), (b"b", b'"\\""')]
        start, device = scan.take("start"), scan.take("device")
        assert start is not None
        assert device is not None
        np.testing.assert_array_equal(start.values, [1_000, 2_001])  # half a nanosecond rounds up
        np.testing.assert_array_equal(device.present, [True, False])
        assert device.values[0] == 4
        assert scan.take("duration") is None
        assert scan.take("category") is None
        names = scan.take("name")
        assert names is not None
        assert [scan.strings()[number] for number in names.values] == [b"y", b"x\\n"]


def test_a_closed_scan_is_refused() -> None:
    scan = NativeScan(FIELDS)
    scan.close()
    scan.close()
    with pytest.raises(ValueError, match="closed"):
        scan.feed(b"[]")


def test_no_memory_is_told() -> None:
    with pytest.raises(UnsupportedError, match="not enough memory"):
        NativeScan._check(1)
    assert scan_library() is scan_library()


# Scans share nothing between threads: the thread sanitizer would have nothing to look at.
def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    check_sanitized([SCANNER, DRIVER], SANITIZERS[0], tmp_path)


def test_the_driver_notices_a_block_that_is_too_short(tmp_path: Path) -> None:
    for source in SOURCE_FOLDER.glob("trace_*"):
        shutil.copy(source, tmp_path)
    columns = tmp_path / "trace_columns.h"
    right, wrong = "make_unique<T[]>(per_block)", "make_unique<T[]>(per_block - 1)"
    assert right in columns.read_text()
    columns.write_text(columns.read_text().replace(right, wrong))
    with pytest.raises(AssertionError, match="heap-buffer-overflow"):
        check_sanitized([tmp_path / SCANNER.name, DRIVER], SANITIZERS[0], tmp_path)
