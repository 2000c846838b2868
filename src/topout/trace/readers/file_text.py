"""The text of a trace file in pieces: plain or gzip, UTF-8 or UTF-16, whole or damaged.

This is the one place that opens and inflates text. Pieces are read ahead in a thread; what ended
a file early is told, and what precedes that is used. Strings and numbers of JSON that stand in it
are read as far as they go too; numbers are exact, by the rules of trace_number.h.
"""

import codecs
import json
import queue
import re
import threading
import zlib
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from topout.errors import InputError
from topout.input_file import open_input

PIECE_BYTES = 4 << 20
_HEAD_BYTES = 64 << 10
_COMPRESSED_PIECE_BYTES = 256 << 10
_SMALL_STEP_BYTES = 64
_PIECES_AHEAD = 3
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib's number for the largest window with gzip's header and checksum
# A console that redirects a profiler's output to a file may write UTF-16.
_WIDE = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_SHORT = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_REPLACEMENT = "\ufffd"
_NUMBER = re.compile(rb"(-?[0-9]+(?:\.[0-9]*)?)(?:[eE][+-]?[0-9]+)?")
# Digits beyond these are cut off, which leaves the first one behind the point as it is: it alone
# decides how a half is rounded. Numbers beyond the exponents become no number, which is not finite.
_SIXTY_DIGITS = Context(prec=60, rounding=ROUND_DOWN, traps=[])
_LANE = b"stream "


class Head(NamedTuple):
    """The first 64 KiB that a file holds, inflated, and what ended them early."""

    data: bytes
    trouble: str | None


class Piece(NamedTuple):
    """Bytes of the text in UTF-8, and how far into the file they reach, 0 to 1."""

    data: bytes
    fraction: float


def head_of(path: Path) -> Head:
    """The beginning of a file; raises InputError where it cannot be opened."""
    head = bytearray()
    with _opened(path) as file:
        pieces = _inflated_pieces(file)
        while len(head) < _HEAD_BYTES:
            try:
                head += next(pieces)
            except StopIteration as end:
                return Head(bytes(head), end.value)
    return Head(bytes(head[:_HEAD_BYTES]), None)


def text_of(head: bytes) -> str:
    """The text of a file's first bytes, without NUL bytes."""
    pieces = [piece.replace(b"\0", b" ") for piece in _as_utf8(iter([head]))]
    return b"".join(pieces).decode(errors="replace")


class FileText(AbstractContextManager["FileText"]):
    """The text of a file, piece by piece; use it in a `with` block, and iterate over it once.

    NUL bytes, which a file system leaves where a job was killed, become spaces and are counted.
    `trouble` says, once all is read, what ended it early; None where all was whole. Raises
    InputError for a file that cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble: str | None = None
        self.text_bytes = 0
        self.null_bytes = 0
        self._file = _opened(path)
        self._size = max(1, path.stat().st_size)
        self._queue: queue.Queue[Piece | BaseException | None] = queue.Queue(_PIECES_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read_ahead, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        while self._thread.is_alive():  # it may wait for room
            self._discard()
            self._thread.join(timeout=0.01)
        self._file.close()

    def __iter__(self) -> Iterator[Piece]:
        while (piece := self._queue.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            nulls = piece.data.count(0)
            self.null_bytes += nulls
            self.text_bytes += len(piece.data)
            yield piece._replace(data=piece.data.replace(b"\0", b" ")) if nulls else piece

    def _discard(self) -> None:
        try:
            while True:
                self._queue.get_nowait()
        except queue.Empty:
            pass

    def _read_ahead(self) -> None:
        try:
            for data in _as_utf8(self._inflated()):
                if self._stopped.is_set():
                    return
                self._queue.put(Piece(data, min(1.0, self._file.tell() / self._size)))
            self._queue.put(None)
        except BaseException as error:  # shown by the thread that waits for the pieces
            self._queue.put(error)

    def _inflated(self) -> Iterator[bytes]:
        self.trouble = yield from _inflated_pieces(self._file)


def _opened(path: Path) -> BinaryIO:
    try:
        return open_input(path, again=True)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}.",
            "Give a file that exists and that you may read.",
        ) from None


def _as_utf8(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces in UTF-8 without a byte order mark."""
    first = next(pieces, b"")
    if encoding := _WIDE.get(first[:2]):
        decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        yield decoder.decode(first[2:]).encode()
        for piece in pieces:
            yield decoder.decode(piece).encode()
        yield decoder.decode(b"", final=True).encode()
        return
    yield first.removeprefix(codecs.BOM_UTF8)
    yield from pieces


def _inflated_pieces(file: BinaryIO) -> Generator[bytes, None, str | None]:
    """What a file holds, inflated where it is gzip; returns what ended it early."""
    try:
        is_gzip = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(0)
        if is_gzip:
            return (yield from _gzip_pieces(file))
        while data := file.read(PIECE_BYTES):
            yield data
    except OSError as error:
        return f"the file could not be read further: {error.strerror or error}"
    return None


def _gzip_pieces(file: BinaryIO) -> Generator[bytes, None, str | None]:
    """The text of all members of a gzip file; returns what ended it early."""
    inflater = zlib.decompressobj(wbits=_GZIP_WINDOW)
    while compressed := file.read(_COMPRESSED_PIECE_BYTES):
        while compressed:
            if inflater.eof:
                compressed = compressed.lstrip(b"\0")  # padding between members and at the end
                inflater = zlib.decompressobj(wbits=_GZIP_WINDOW) if compressed else inflater
                continue
            before = inflater.copy()
            try:
                data = inflater.decompress(compressed, PIECE_BYTES)
            except zlib.error as error:
                yield from _before_damage(before, compressed)
                return f"its compressed data is damaged ({error})"
            yield data
            compressed = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    if inflater.eof:
        return None
    yield inflater.flush()
    return "its compressed data ends early"


def _before_damage(inflater: "zlib._Decompress", compressed: bytes) -> Iterator[bytes]:
    """What can be inflated of a piece that is damaged somewhere."""
    for at in range(0, len(compressed), _SMALL_STEP_BYTES):
        try:
            yield inflater.decompress(compressed[at : at + _SMALL_STEP_BYTES])
        except zlib.error:
            return


class DecodedText(NamedTuple):
    """Text, and whether all its bytes could be read."""

    text: str
    intact: bool


def decode(raw: bytes) -> DecodedText:
    """The text of a JSON string without its quotes.

    Bytes that are not UTF-8, and halves of surrogate pairs that stand alone, become U+FFFD; an
    escape that JSON does not know stays as it is written.
    """
    try:
        text, intact = raw.decode(), True
    except UnicodeDecodeError:
        text, intact = raw.decode(errors="replace"), False
    if "\\" not in text:
        return DecodedText(text, intact)
    text = _ESCAPE.sub(lambda escape: _meaning(escape[1], escape[2]), text)
    # Pairs of surrogates become one character on the way through UTF-16.
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return DecodedText(whole, intact and whole.count(_REPLACEMENT) == text.count(_REPLACEMENT))


def _meaning(code: str | None, letter: str) -> str:
    return chr(int(code, 16)) if code else _SHORT[letter]


def normalized_json(raw: bytes) -> str | None:
    """A JSON value written as Python's json module does: "[[32, 768], [768]]".

    None where it cannot be read.
    """
    try:
        return json.dumps(json.loads(raw.decode(errors="replace"), strict=False))
    except (ValueError, RecursionError):
        return None


def scaled_number(text: bytes, shift: int) -> int | None:
    """The number in `text` times 10^shift, exactly, halves rounded away from zero.

    None where it is no number or needs more than 63 bits and a sign.
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    if not found[1].strip(b"-0."):
        return 0
    value = _SIXTY_DIGITS.scaleb(_SIXTY_DIGITS.create_decimal(text.decode()), shift)
    if not value.is_finite() or value.adjusted() > 20:
        return None
    whole = int(value.to_integral_value(ROUND_HALF_UP))
    return whole if abs(whole) < 2**63 else None


def lane_number(text: bytes) -> int | None:
    """A number, or the N of "stream N", as PyTorch 1.8 named the streams of a device."""
    return scaled_number(text.removeprefix(_LANE), 0)
