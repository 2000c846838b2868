"""The scanners in C++ and in Python read any JSON alike, in whatever pieces it comes."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from topout.errors import CompilerError
from topout.kernels.trace_ops import Field, NativeScan, scan_library
from topout.trace.readers.file_text import decode
from topout.trace.readers.kineto_scan import PythonScan
from topout.trace.readers.kineto_table import FIELDS, Scan
from topout.trace.readers.lanes import LANE_FIELDS

from .kineto_files import training_trace

# Python waits for a whole value in front of it: both are the middle of the file.
_MIDDLE = {"member_value": "members", "entry": "events"}


class Content(NamedTuple):
    """All that a scan found, strings in place of their numbers."""

    stage: str
    has_events: bool
    counts: dict[str, int]
    rows: list[dict[str, Any]]
    members: list[tuple[bytes, bytes]]


def content(scan: Scan, pieces: Sequence[bytes], fields: Sequence[Field] = FIELDS) -> Content:
    for piece in pieces:
        scan.feed(piece)
    scan.finish()
    strings = [decode(raw).text for raw in scan.strings()]
    rows: list[dict[str, Any]] = [{} for _ in range(scan.rows)]
    for field in fields:
        column = scan.take(field.name)
        if column is None:
            continue
        for row, value, present in zip(rows, column.values, column.present, strict=True):
            if present:
                is_text = field.form in ("text", "json")
                row[field.name] = strings[value] if is_text else int(value)
    found = Content(
        _MIDDLE.get(scan.stage, scan.stage),
        scan.has_events,
        dict(scan.counts),
        rows,
        list(scan.members()),
    )
    scan.close()
    return found


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    try:
        scan_library()
    except CompilerError as error:
        pytest.skip(str(error))


def both(*pieces: bytes) -> Content:
    """What the two scanners agree on; asserts that they do."""
    native = content(NativeScan(FIELDS), pieces)
    assert native == content(PythonScan(FIELDS), pieces)
    names = content(NativeScan(LANE_FIELDS, keeps_names=True), pieces, LANE_FIELDS)
    assert names == content(PythonScan(LANE_FIELDS, keeps_names=True), pieces, LANE_FIELDS)
    return native


# Text that is JSON, or nearly.
_keys = st.sampled_from(
    [key for field in (*FIELDS, *LANE_FIELDS) for key in field.keys] + ["args", "id", "x"]
)
_numbers = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.sampled_from(["1e3", "-0.0005", "4.9999999999999999999e2", "1E400", "00", "1.", "-", "NaN"]),
)
_strings = st.one_of(
    st.text(max_size=8).map(json.dumps),
    st.text(max_size=8).map(lambda text: json.dumps(text, ensure_ascii=False)),
    _numbers.map(json.dumps),
    st.sampled_from(['"X"', '"i"', '"\\u0058"', '"kernel"', '"\\ud800"', '"\\q"', '"a\\\\"', '""']),
    st.sampled_from(['"stream 7"', '"Spans"', '"B"', '"\t"']),
)
_scalars = st.one_of(_numbers, _strings, st.sampled_from(["null", "true", "false", "nan", "é"]))
_blanks = st.sampled_from(["", " ", "\n  ", "\t\r\n"])


@st.composite
def _objects(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    members = []
    for key in draw(st.lists(_keys, max_size=8, unique=True)):
        blank = draw(_blanks)
        written = json.dumps(key) if draw(st.booleans()) else _escaped(key)
        members.append(f"{blank}{written}{blank}:{blank}{draw(values)}{blank}")
    return "{" + ",".join(members) + "}"


def _escaped(key: str) -> str:
    return '"' + "".join(f"\\u{ord(c):04X}" for c in key) + '"'


def _array(items: list[str]) -> str:
    return "[" + ",".join(items) + "]"


_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(_objects(inner), st.lists(inner, max_size=3).map(_array)),
    max_leaves=6,
)


@st.composite
def _events(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 9)) == 0:
        return draw(_values)
    ts, dur, args = draw(_numbers), draw(_scalars), draw(_objects(_values))
    name = draw(_strings)
    phase = draw(st.sampled_from(["X", "X", "M"]))
    return f'{{"ph": "{phase}", "ts": {ts}, "name": {name}, "dur": {dur}, "args": {args}}}'


@st.composite
def _documents(draw: st.DrawFn) -> bytes:
    blank = draw(_blanks)
    events = _array([blank + event for event in draw(st.lists(_events(), max_size=6))])
    if draw(st.booleans()):
        text = events
    else:
        before, after = draw(_values), draw(_values)
        text = f'{{"a": {before},{blank}"traceEvents": {events}, "b":{blank}{after}}}'
    data = bytearray((blank + text).encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 2)) if draw(st.booleans()) else 0):  # damage
        at = draw(st.integers(0, len(data) - 1))
        data[at] = draw(st.sampled_from(b'"\\{}[],: \xffa0'))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_documents(), st.lists(st.integers(0, 400), max_size=6))
def test_both_read_any_text_alike_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    whole = both(data)
    assert both(*_cut(data, cuts)) == whole


def _cut(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    for start, end in zip([0, *ends], ends, strict=False):
        yield data[start:end]


@pytest.mark.parametrize("old", [False, True])
def test_a_trace_cut_off_anywhere_keeps_what_was_whole(old: bool) -> None:
    data = training_trace(steps=1, layers=1, old=old).text(indent=None).encode()
    whole = both(data)
    # 8 up to the first layer, 3 for each of 4 operators forward and backward, 1 + 3 of memory and
    # the collective, 5 of the update, and the profiler's own span.
    assert (whole.stage, len(whole.rows)) == ("done", 8 + 24 + 4 + 5 + 1)
    for end in range(0, len(data), 211):
        cut = both(data[:end])
        assert cut.stage != "done"
        assert cut.counts["unreadable"] == 0
        kept = {json.dumps(row, sort_keys=True) for row in cut.rows}
        assert kept <= {json.dumps(row, sort_keys=True) for row in whole.rows}


def test_one_byte_at_a_time() -> None:
    data = training_trace(steps=1, layers=1).text().encode()
    assert both(*(data[at : at + 1] for at in range(len(data)))) == both(data)


def test_rows_are_in_the_order_of_time_and_equal_times_in_that_of_the_file() -> None:
    events = [{"ph": "X", "ts": ts, "name": str(number)} for number, ts in enumerate([5, 1, 5, 0])]
    rows = both(json.dumps(events).encode()).rows
    assert [row["name"] for row in rows] == ["3", "1", "0", "2"]


def test_of_equal_keys_the_last_one_holds() -> None:
    data = b'[{"ph": "X", "ts": 1, "ts": "2", "args": {"device": 1, "device": 3},'
    data += (
        b' "name": "a", "name": "b"}, {"ph":"X","ts":3,"args":{"device":1},"args":{"stream":2}}]'
    )
    first, second = both(data).rows
    assert first == {"start": 2_000, "device": 3, "name": "b"}
    assert second == {"start": 3_000, "stream": 2}


def test_of_two_spellings_of_a_field_the_last_one_holds() -> None:
    data = b'[{"ph": "X", "ts": 1, "args": {"External Id": 1, "External id": 2}},'
    data += b' {"ph": "X", "ts": 2, "args": {"External id": 3, "External Id": 4}}]'
    assert [row["external"] for row in both(data).rows] == [2, 4]


def test_an_event_is_unreadable_where_any_of_its_arguments_is() -> None:
    data = b'[{"ph": "X", "ts": 1, "args": {"device": 1 2}, "args": {"device": 3}}]'
    found = both(data)
    assert (found.counts["unreadable"], found.rows) == (1, [])


def test_arguments_that_are_no_object_are_none() -> None:
    for arguments in (b"[1, 2]", b'"x"', b"null", b"7"):
        data = b'[{"ph": "X", "ts": 1, "args": {"device": 1}, "args": ' + arguments + b"}]"
        assert both(data).rows == [{"start": 1_000}]


def test_what_is_no_event_is_counted() -> None:
    data = b'[7, "x", [], {"ph": "X" "ts": 1}, {"ts": 1}, {"ph": "X"}, {"ph": "B", "ts": 1},'
    data += b' {"ph": "M", "ts": 1}, {"ph": "i", "ts": 1}, {"ph": "X", "ts": 1}, null]'
    found = both(data)
    assert found.counts == {
        "entries": 11,
        "unreadable": 5,  # 7, "x", [], the one without a comma, null
        "untimed": 1,
        "paired": 1,
        "unphased": 1,
        "too_long": 0,
        "trailing": 0,
    }
    assert len(found.rows) == 1


@pytest.mark.parametrize(("depth", "rows"), [(127, 1), (128, 0), (100_000, 0)])
def test_nesting_is_bounded(depth: int, rows: int) -> None:
    data = b'[{"ph": "X", "ts": 1, "a": ' + b"[" * depth + b"]" * depth + b"}]"
    found = both(data)
    assert (len(found.rows), found.counts["unreadable"]) == (rows, 1 - rows)


@pytest.mark.parametrize("padding", [16 << 20, 100])
def test_an_event_of_more_than_16_mib_is_stepped_over(padding: int) -> None:
    event = b'{"ph": "X", "ts": 1, "a": "' + b"x" * padding + b'"}'
    data = b"[" + event + b', {"ph": "X", "ts": 2}]'
    pieces = [data[at : at + (1 << 20)] for at in range(0, len(data), 1 << 20)]
    found = both(*pieces)
    is_long = padding > 100
    assert (found.counts["too_long"], len(found.rows)) == (is_long, 2 - is_long)
    assert both(data) == found


def test_members_of_more_than_1_mib_are_stepped_over() -> None:
    long, short = b'"' + b"x" * (1 << 20) + b'"', b'{"a": [1, "]"]}'
    data = b'{"long": ' + long + b', "short": ' + short + b', "traceEvents": []}'
    found = both(*(data[at : at + 300_000] for at in range(0, len(data), 300_000)))
    assert found.members == [(b"short", short)]
    assert (found.stage, found.has_events) == ("done", True)


@pytest.mark.parametrize(
    ("data", "stage"),
    [
        (b"", "start"),
        (b"  ", "start"),
        (b"hello", "foreign"),
        (b"{", "members"),
        (b"{}", "done"),
        (b'{"a" 1}', "broken"),
        (b'{"a": }', "broken"),
        (b"{7: 1}", "broken"),
        (b'{"a": 1', "members"),
        (b'{"traceEvents": {}}', "done"),
        (b"[}", "broken"),
        (b"[:", "broken"),
        (b'[{"ph": "X"', "events"),
        (b"[]", "done"),
        (b"[] and more", "done"),
        (b'{"traceEvents": []} and more', "done"),
    ],
)
def test_where_the_structure_ends(data: bytes, stage: str) -> None:
    assert both(data).stage == stage


@pytest.mark.parametrize(
    ("end", "trailing"),
    [
        (b"", 0),
        (b" \n\r\t ", 0),
        (b" and more", 7),
        (b"}", 1),
        (b'\n  "dur": 5\n }\n]}', 10),
    ],
)
def test_bytes_behind_the_end_are_counted_but_for_blanks(end: bytes, trailing: int) -> None:
    for whole in (b'{"traceEvents": [{"ph": "X", "ts": 1}]}', b'[{"ph": "X", "ts": 1}]'):
        data = whole + end
        each = [data[at : at + 1] for at in range(len(data))]
        for pieces in ([data], each, [whole, end]):
            assert both(*pieces).counts["trailing"] == trailing
