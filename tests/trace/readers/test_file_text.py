"""The bytes of a file, compressed or not, whole or damaged."""

import gzip
import random
from pathlib import Path

import pytest

from topout.errors import InputError
from topout.trace.readers import file_text
from topout.trace.readers.file_text import PIECE_BYTES, FileText

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
