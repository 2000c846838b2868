"""Files that are damaged, cut off, or no traces at all: used as far as they go, and said so."""

import gzip
import json
from pathlib import Path

import pytest

from topout.errors import InputError
from topout.trace.readers.kineto import read_kineto

from .kineto_files import KinetoWriter, training_trace

WHOLE = training_trace(steps=10).text().encode()
EVENT = '{"ph": "X", "cat": "kernel", "name": "k", "ts": 1, "dur": 2, "args": {"device": 0}}'


def save(folder: Path, data: bytes | str) -> Path:
    path = folder / "trace.json"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_json_that_is_cut_off(tmp_path: Path) -> None:
    whole = read_kineto(save(tmp_path, WHOLE))
    half = read_kineto(save(tmp_path, WHOLE[: len(WHOLE) // 2]))
    assert 0.4 * len(whole.events) < len(half.events) < 0.6 * len(whole.events)
    assert half.rank == 0  # what stands before the events is known
    (doubt,) = half.doubts
    assert "cut off" in doubt


def test_gzip_that_is_cut_off(tmp_path: Path) -> None:
    packed = gzip.compress(WHOLE, mtime=0)
    trace = read_kineto(save(tmp_path, packed[: len(packed) // 2]))
    assert len(trace.events) > 100
    (doubt,) = trace.doubts
    assert "compressed data ends early" in doubt


def test_gzip_without_its_last_bytes_has_all_events(tmp_path: Path) -> None:
    whole = read_kineto(save(tmp_path, WHOLE))
    trace = read_kineto(save(tmp_path, gzip.compress(WHOLE, mtime=0)[:-4]))
    assert trace.events.equals(whole.events)
    assert "ends early" in trace.doubts[0]


def test_json_that_breaks_off_into_something_else(tmp_path: Path) -> None:
    trace = read_kineto(save(tmp_path, f"[{EVENT}, }}, {EVENT}]"))
    assert len(trace.events) == 1
    assert "not readable behind byte" in trace.doubts[0]


def test_a_file_that_was_written_over_a_longer_one(tmp_path: Path) -> None:
    """The end of the longer file stands behind that of the shorter one."""
    short = training_trace(steps=1).text().encode()
    whole = read_kineto(save(tmp_path, short))
    over = read_kineto(save(tmp_path, short + WHOLE[len(short) :]))
    assert over.events.equals(whole.events)
    (doubt,) = over.doubts
    assert "goes on with" in doubt and "written over a longer one" in doubt
    assert read_kineto(save(tmp_path, short + b"\n\n")).doubts == ()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param(b"", "it is empty", id="no bytes"),
        pytest.param(gzip.compress(b"", mtime=0), "it is empty", id="gzip of no bytes"),
        pytest.param(gzip.compress(WHOLE, mtime=0)[:10], "ends early", id="gzip header alone"),
        pytest.param(b"\0" * 5_000, "NUL bytes alone", id="NUL bytes"),
        pytest.param(b" \n ", "white space alone", id="white space"),
        pytest.param(b"hello", "not a JSON object", id="a word"),
        pytest.param(b'"traceEvents"', "not a JSON object", id="a string"),
        pytest.param(b"{}", "it has no keys", id="an empty object"),
        pytest.param(
            b'{"schema_version": 1, "kind": "climb"}',
            "'schema_version', 'kind'",
            id="a record of topout",
        ),
        pytest.param(b'{"traceEvents": {"a": 1}}', "no array", id="events that are no array"),
        pytest.param(b"[1, 2, 3]", "none of its 3 entries is an event", id="numbers"),
        pytest.param(
            b'[{"loss": 2.5}]', "none of its 1 entries is an event", id="an object without ph"
        ),
        pytest.param(b'{"a": ', "cut off", id="an object cut off"),
    ],
)
def test_what_is_no_trace_is_refused_by_name(tmp_path: Path, data: bytes, found: str) -> None:
    path = save(tmp_path, data)
    with pytest.raises(InputError) as refused:
        read_kineto(path)
    assert str(path) in refused.value.message
    assert found in refused.value.message
    assert "\n" not in str(refused.value)
    assert refused.value.remedy


def test_no_events_is_fine_and_said(tmp_path: Path) -> None:
    trace = read_kineto(save(tmp_path, '{"schemaVersion": 1, "traceEvents": []}'))
    assert trace.events.is_empty()
    assert trace.doubts == ("The trace holds no events.",)


def test_no_events_of_a_gpu_is_fine(tmp_path: Path) -> None:
    writer = KinetoWriter(gpus=0)
    writer.operator("aten::mm", 0, 100)
    trace = read_kineto(writer.save(tmp_path / "trace.json"))
    assert (trace.device_numbers, trace.doubts) == ([], ())


def test_negative_durations_are_clipped_and_counted(tmp_path: Path) -> None:
    events = [{"ph": "X", "ts": 5, "dur": dur} for dur in (-1, -0.001, 0, 3)]
    trace = read_kineto(save(tmp_path, json.dumps(events)))
    assert trace.events["duration_ns"].to_list() == [0, 0, 0, 3_000]
    assert trace.doubts == ("2 events had negative durations: taken as 0.",)


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    trace = read_kineto(save(tmp_path, b'[{"ph": "X", "ts": 1, "name": "caf\xe9 \xff"}]'))
    assert trace.events["name"].to_list() == ["caf\ufffd \ufffd"]
    assert trace.doubts == ("1 names hold bytes that are not UTF-8: shown as \ufffd.",)


def test_nul_bytes_read_as_spaces(tmp_path: Path) -> None:
    data = f"[{EVENT}, {EVENT}".encode() + b"\0" * 4096
    trace = read_kineto(save(tmp_path, data))
    assert len(trace.events) == 2
    assert "cut off" in trace.doubts[0]
    assert "4096 NUL bytes" in trace.doubts[1]


def test_events_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    others = '{"ph": "X"}, {"ph": "B", "ts": 1}, {"ts": 1}, {"a": 1 2}, 7'
    trace = read_kineto(save(tmp_path, f"[{EVENT}, {others}, {EVENT}]"))
    assert len(trace.events) == 2
    assert len(trace.doubts) == 4
    assert "2 entries are not readable JSON objects: left out." in trace.doubts


def test_values_of_other_types_are_missing(tmp_path: Path) -> None:
    event = '{"ph": "X", "ts": 1, "dur": {}, "name": 7, "cat": null, "pid": [1], "tid": true,'
    event += ' "args": {"device": "x", "stream": 1e99, "External id": null, "bytes": NaN}}'
    trace = read_kineto(save(tmp_path, f"[{event}]"))
    row = trace.events.row(0, named=True)
    assert (row["name"], row["kind"], row["duration_ns"]) == ("7", "other", 0)
    assert (row["process"], row["thread"], row["external"]) == (None, None, None)


def test_numbers_beyond_a_column_are_missing(tmp_path: Path) -> None:
    event = EVENT.replace('"device": 0', '"device": 99999999999, "stream": 18446744073709551615')
    row = read_kineto(save(tmp_path, f"[{event}]")).events.row(0, named=True)
    assert (row["device"], row["stream"]) == (None, None)


def test_markup_and_commands_in_names_stay_text(tmp_path: Path) -> None:
    name = "<script>alert('x')</script>; $(rm) \u202e"
    trace = read_kineto(save(tmp_path, json.dumps([{"ph": "X", "ts": 1, "name": name}])))
    assert trace.events["name"].to_list() == [name]


def test_metadata_that_is_not_json_is_named(tmp_path: Path) -> None:
    text = f'{{"deviceProperties": [1 2], "traceEvents": [{EVENT}]}}'
    trace = read_kineto(save(tmp_path, text))
    assert trace.doubts == ("Not readable and left out: deviceProperties.",)
