"""The bytes of a file, compressed or not, whole or damaged, and the JSON texts in them."""

import gzip
import json
import random
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.errors import InputError
from topout.trace.readers import file_text
from topout.trace.readers.file_text import (
    PIECE_BYTES,
    FileText,
    decode,
    lane_number,
    normalized_json,
    scaled_number,
)

TEXT = b"".join(b"line %d of the text\n" % number for number in range(400_000))


def read(path: Path) -> tuple[bytes, str | None]:
    with FileText(path) as pieces:
        text = b"".join(piece.data for piece in pieces)
        return text, pieces.trouble


@pytest.fixture(scope="module")
def packed() -> bytes:
    return gzip.compress(TEXT, 1, mtime=0)


def test_plain_and_packed(tmp_path: Path, packed: bytes) -> None:
    path = tmp_path / "text"
    two_members = gzip.compress(TEXT[:9], mtime=0) + gzip.compress(TEXT[9:], 1, mtime=0)
    for data in (TEXT, packed, two_members):
        path.write_bytes(data)
        assert read(path) == (TEXT, None)


def test_padding_behind_packed_data_is_nothing(tmp_path: Path, packed: bytes) -> None:
    path = tmp_path / "text.gz"
    path.write_bytes(packed + bytes(700_000))
    assert read(path) == (TEXT, None)


def test_pieces_are_of_some_mib_even_of_what_packs_well(tmp_path: Path) -> None:
    path = tmp_path / "spaces.gz"
    path.write_bytes(gzip.compress(b" " * (64 << 20), 1, mtime=0))
    with FileText(path) as pieces:
        sizes = [len(piece.data) for piece in pieces]
    assert sum(sizes) == 64 << 20
    assert max(sizes) <= PIECE_BYTES


@pytest.mark.parametrize("share", [0.2, 0.9, 0.9999])
def test_truncated_data_is_used_as_far_as_it_goes(
    tmp_path: Path, packed: bytes, share: float
) -> None:
    path = tmp_path / "text.gz"
    path.write_bytes(packed[: int(len(packed) * share)])
    text, trouble = read(path)
    assert trouble == "its compressed data ends early"
    assert TEXT.startswith(text)
    assert len(text) > (share - 0.1) * len(TEXT)


def test_damaged_data_is_used_up_to_the_damage(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(3 << 20).replace(b"\0", b"\1")
    data = bytearray(gzip.compress(noise, 1, mtime=0))  # stored: its length fields can be damaged
    data[len(data) // 2 : len(data) // 2 + 70_000] = bytes(b"\xff" * 70_000)
    path = tmp_path / "noise.gz"
    path.write_bytes(data)
    text, trouble = read(path)
    assert trouble is not None
    assert "damaged" in trouble
    assert text[: 1 << 20] == noise[: 1 << 20]


def test_other_data_behind_packed_data_is_damage(tmp_path: Path, packed: bytes) -> None:
    path = tmp_path / "text.gz"
    path.write_bytes(packed + b"and more")
    text, trouble = read(path)
    assert text == TEXT
    assert trouble is not None


def test_fractions_rise_to_one(tmp_path: Path, packed: bytes) -> None:
    path = tmp_path / "text"
    for data in (TEXT, packed):
        path.write_bytes(data)
        with FileText(path) as pieces:
            fractions = [piece.fraction for piece in pieces]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1


def test_a_mark_of_byte_order_and_nuls(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbf[\0]\0\0")
    with FileText(path) as pieces:
        assert b"".join(piece.data for piece in pieces) == b"[ ]  "
        assert pieces.null_bytes == 3


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("piece_bytes", [PIECE_BYTES, 7])
def test_utf16_becomes_utf8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, piece_bytes: int
) -> None:
    monkeypatch.setattr(file_text, "PIECE_BYTES", piece_bytes)
    path = tmp_path / "text"
    path.write_bytes("\ufeff[é, 😀]\n".encode(encoding))
    assert read(path) == ("[é, 😀]\n".encode(), None)


def test_leaving_early_ends_the_thread(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(TEXT * 8)
    with FileText(path) as pieces:
        next(iter(pieces))
    assert not pieces._thread.is_alive()


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        FileText(tmp_path / "none")
    with pytest.raises(InputError, match="directory"):
        FileText(tmp_path)


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
