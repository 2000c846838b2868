"""A trace file as pieces of bytes, inflated where it is compressed, read ahead in a thread."""

import queue
import threading
import zlib
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from topout.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
PIECE_BYTES = 4 << 20
_COMPRESSED_PIECE_BYTES = 256 << 10
_SMALL_STEP_BYTES = 64
_PIECES_AHEAD = 3
_GZIP_WINDOW = 31  # zlib's number for the largest window with gzip's header and checksum
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Piece(NamedTuple):
    """Bytes of the text, and how far into the file they reach, 0 to 1."""

    data: bytes
    fraction: float


class Pieces(AbstractContextManager["Pieces"]):
    """The text of a file, plain or gzip, piece by piece; use it in a `with` block.

    `trouble` says, once all is read, what ended it early; None where all was whole. Raises
    InputError for a file that cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble: str | None = None
        self.text_bytes = 0
        self.null_bytes = 0
        try:
            self._file = path.open("rb")
            self._size = path.stat().st_size
        except OSError as error:
            raise InputError(
                f"{path} cannot be read: {error.strerror or error}.", "Give a file that is there."
            ) from None
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
            yield self._without_nulls(piece)

    def _without_nulls(self, piece: Piece) -> Piece:
        """NUL bytes read as spaces: a file system leaves them where a job was killed."""
        nulls = piece.data.count(0)
        self.null_bytes += nulls
        self.text_bytes += len(piece.data)
        return Piece(piece.data.replace(b"\0", b" "), piece.fraction) if nulls else piece

    def _discard(self) -> None:
        try:
            while True:
                self._queue.get_nowait()
        except queue.Empty:
            pass

    def _read_ahead(self) -> None:
        try:
            is_first = True
            for data in _text_of(self._file, self):
                if self._stopped.is_set():
                    return
                fraction = self._file.tell() / max(1, self._size)
                whole = data.removeprefix(_BYTE_ORDER_MARK) if is_first else data
                self._queue.put(Piece(whole, min(1.0, fraction)))
                is_first = False
            self._queue.put(None)
        except BaseException as error:  # shown by the thread that waits for the pieces
            self._queue.put(error)


def _text_of(file: BinaryIO, pieces: Pieces) -> Iterator[bytes]:
    try:
        start = file.read(len(GZIP_MAGIC))
        file.seek(0)
        if start != GZIP_MAGIC:
            while data := file.read(PIECE_BYTES):
                yield data
        else:
            pieces.trouble = yield from _inflated(file)
    except OSError as error:
        pieces.trouble = f"the file could not be read further: {error.strerror or error}"


def _inflated(file: BinaryIO) -> Generator[bytes, None, str | None]:
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
