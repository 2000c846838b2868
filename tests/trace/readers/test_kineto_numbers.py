"""Decimal text becomes whole numbers exactly, as arithmetic of any precision says."""

from decimal import ROUND_HALF_UP, Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.trace.readers.kineto_numbers import lane_number, scaled_number

_EXACT = Context(prec=400)


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
def test_known_values(text: bytes, shift: int, number: int | None) -> None:
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
