"""The lines of a text file in blocks: gzip or not, UTF-8 or UTF-16, whole or cut off."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from topout.errors import InputError
from topout.progress import Notify

_BLOCK_BYTES = 16 << 20
_LONGEST_LINE_BYTES = 64 << 20
# A console that redirects a profiler's output to a file may write UTF-16.
_WIDE = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class LineBlocks:
    """Iterates over `path` in blocks of whole lines, as UTF-8 with `\\n` at the ends of lines.

    Only the last block may end without one. After the iteration `damage` says in words where the
    file broke off, and is None when it did not. Raises InputError for a file that cannot be
    opened, or has a line that no CSV has.
    """

    def __init__(self, path: Path, notify: Notify | None = None) -> None:
        self.path = path
        self.damage: str | None = None
        self._notify = notify

    def __iter__(self) -> Iterator[bytes]:
        rest: list[bytes] = []
        for piece in self._decoded():
            end = piece.rfind(b"\n") + 1
            if end == 0:
                rest.append(piece)
                self._check_length(rest)
                continue
            yield b"".join([*rest, piece[:end]])
            rest = [piece[end:]] if end < len(piece) else []
        if rest:
            yield b"".join(rest)

    def _check_length(self, parts: list[bytes]) -> None:
        if sum(map(len, parts)) > _LONGEST_LINE_BYTES:
            raise InputError(
                f"{self.path} has a line of more than {_LONGEST_LINE_BYTES >> 20} MiB.",
                "No profiler writes such a CSV; give the file that it wrote.",
            )

    def _decoded(self) -> Iterator[bytes]:
        decoder: codecs.IncrementalDecoder | None = None
        for number, piece in enumerate(self._raw()):
            if number == 0:
                piece = piece.removeprefix(codecs.BOM_UTF8)
                if encoding := _WIDE.get(piece[:2]):
                    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
                    piece = piece[2:]
            text = decoder.decode(piece).encode() if decoder else piece
            yield text.replace(b"\r", b"") if b"\r" in text else text

    def _raw(self) -> Iterator[bytes]:
        """Blocks of bytes, unpacked; ends early, with `damage`, where a gzip file is broken."""
        try:
            size = max(self.path.stat().st_size, 1)
            with self.path.open("rb") as file:
                packed = file.read(2) == b"\x1f\x8b"
                file.seek(0)
                stream: io.BufferedIOBase = gzip.GzipFile(fileobj=file) if packed else file
                while piece := self._read(stream):
                    yield piece
                    if self.damage:
                        return
                    if self._notify:
                        self._notify(f"reading {self.path.name}", min(file.tell() / size, 1.0))
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be read: {error.strerror or error}.",
                "Give a file that exists and that you may read.",
            ) from None

    def _read(self, stream: io.BufferedIOBase) -> bytes:
        """The next block, in small reads: a large one would lose what precedes a break."""
        parts: list[bytes] = []
        size = 0
        try:
            while size < _BLOCK_BYTES and (part := stream.read1(1 << 20)):
                parts.append(part)
                size += len(part)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            self.damage = "the gzip file is cut off or damaged: only what precedes that was used"
        return b"".join(parts)
