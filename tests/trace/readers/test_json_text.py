"""Strings and numbers as they stand in a file, to text and to whole numbers, exactly."""

import json
from decimal import ROUND_HALF_UP, Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.trace.readers.json_text import decode, lane_number, normalized_json, scaled_number

_EXACT = Context(prec=400)


@given(st.text(), st.booleans())
def test_what_a_writer_of_json_writes(text: str, ascii_only: bool) -> None:
    raw = json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode()
    assert decode(raw) == (text, True)


@pytest.mark.parametrize(
    ("raw", "text", "intact"),
    [
        (rb"a\/b\\c\"d", 'a/b\\c"d', True),
        (rb"\ud83d\ude00", "\U0001f600", True),
        (rb"\ud83d alone", "\ufffd alone", False),
        (rb"\ude00\ud83d", "\ufffd\ufffd", False),
        (rb"\q \u12", r"\q \u12", True),
        (b"caf\xe9", "caf\ufffd", False),
        (b"tab\tin it", "tab\tin it", True),
        ("\ufffd".encode(), "\ufffd", True),
        (rb"\ufffd", "\ufffd", True),
        (b"", "", True),
    ],
)
def test_hard_strings(raw: bytes, text: str, intact: bool) -> None:
    assert decode(raw) == (text, intact)


@pytest.mark.parametrize(
    ("raw", "written"),
    [
        (b"[[32,768],\n [768]]", "[[32, 768], [768]]"),
        (b'[ "float" , "" ]', '["float", ""]'),
        (b"[1 2]", None),
        (b"[" * 100_000, None),
    ],
)
def test_json_is_written_in_one_way(raw: bytes, written: str | None) -> None:
    assert normalized_json(raw) == written


@pytest.mark.parametrize(
    ("text", "shift", "number"),
    [
        (b"4393667459823.197", 3, 4_393_667_459_823_197),
        (b"1695835535123456", 3, 1_695_835_535_123_456_000),
        (b"0.0005", 3, 1),
        (b"-0.0005", 3, -1),
        (b"0.00049999999999999999999999", 3, 0),
        (b"1e3", 0, 1000),
        (b"1.5E-3", 3, 2),
        (b"7", 0, 7),
        (b"007", 0, 7),
        (b"9223372036854775807", 0, 2**63 - 1),
        (b"9223372036854775808", 0, None),
        (b"-9223372036854775807.4", 0, -(2**63) + 1),
        (b"1234567890123456789.6", 0, 1_234_567_890_123_456_790),
        (b"0e99999999999999999999", 0, 0),
        (b"1e-99999999999999999999", 0, 0),
        (b"1e99999999999999999999", 0, None),
        (b"", 0, None),
        (b"-", 0, None),
        (b"+1", 0, None),
        (b".5", 0, None),
        (b"1.", 0, 1),
        (b"1e", 0, None),
        (b"NaN", 0, None),
        (b" 1", 0, None),
        (b"0x10", 0, None),
    ],
)
def test_known_numbers(text: bytes, shift: int, number: int | None) -> None:
    assert scaled_number(text, shift) == number


@given(st.decimals(allow_nan=False, allow_infinity=False), st.sampled_from([0, 3, 6]))
def test_any_decimal(value: Decimal, shift: int) -> None:
    text = str(value).encode()
    exact = _EXACT.scaleb(value, shift) if value.adjusted() > -300 else Decimal(0)
    if exact.adjusted() > 30:
        expected = None
    else:
        whole = int(exact.to_integral_value(ROUND_HALF_UP, _EXACT))
        expected = whole if abs(whole) < 2**63 else None
    assert scaled_number(text, shift) == (expected if b"+" not in text[:1] else None)


def test_lanes() -> None:
    assert lane_number(b"stream 7") == 7
    assert lane_number(b"7") == 7
    assert lane_number(b"PyTorch Profiler") is None
