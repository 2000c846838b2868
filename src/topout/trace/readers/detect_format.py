"""Which profiler wrote a file: known by its content, never by its name."""

import codecs
import re
import zlib
from pathlib import Path

from topout.errors import InputError
from topout.trace.readers.kineto_pieces import GZIP_MAGIC
from topout.trace.table import TraceFormat

_HEAD_BYTES = 64 << 10
_SQLITE_MAGIC = b"SQLite format 3\0"
_WIDE = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
# Headers of tables; other locales separate by semicolons.
_NSYS = re.compile(
    r'^"?(?:Start|Time|Total Time|Duration|Start Time) ?'
    r"(?:\((?:[num]?s(?:ec)?|%)\)|:(?:ts|dur)_)",
    re.MULTILINE,
)
_NSYS_BANNER = re.compile(r"^ \*\* .+ \(\w+\):|^Processing \[", re.MULTILINE)
_NVPROF = re.compile(
    r'^"?(?:Start"?[,;]\s*"?Duration|Type"?[,;]\s*"?Time\(%\)|Time\(%\)"?[,;])', re.M
)
_NVPROF_BANNER = re.compile(r"^(?:==\d+==|========) ", re.MULTILINE)
_REMEDY = (
    "Give JSON of PyTorch's profiler, CSV of nvprof or Nsight Systems, or SQLite of Nsight "
    "Systems (`nsys export --type sqlite`)."
)


def format_of(path: Path) -> TraceFormat:
    """The format of a trace file, gzip or not, by its first 64 KiB.

    JSON of any kind is taken for Kineto's, whose reader looks closer. Raises InputError for a file
    that cannot be read, is empty, or is of no known format.
    """
    head = head_of(path)
    if head.startswith(_SQLITE_MAGIC):
        return "nsys_sqlite"
    text = _text_of(head)
    if not text.strip():
        raise InputError(f"{path} is not a trace: {_emptiness(head)}.", _REMEDY)
    if text.lstrip()[0] in "{[":
        return "kineto"
    if _NSYS.search(text) or _NSYS_BANNER.search(text):
        return "nsys_csv"
    if _NVPROF.search(text) or _NVPROF_BANNER.search(text):
        return "nvprof_csv"
    raise InputError(f"{path} is not a trace: {_described(text)}.", _REMEDY)


def head_of(path: Path) -> bytes:
    """The first bytes of what a file holds, inflated; raises InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}.", "Give a file that is there."
        ) from None
    if not head.startswith(GZIP_MAGIC):
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD_BYTES)
    except zlib.error as error:
        raise InputError(
            f"{path} is not a trace: its compressed data is damaged ({error}).", _REMEDY
        ) from None


def _text_of(head: bytes) -> str:
    """As text; NUL bytes at the beginning are what a killed job may leave."""
    encoding = _WIDE.get(head[:2])
    if encoding:
        return head[2:].decode(encoding, errors="replace")
    return head.removeprefix(codecs.BOM_UTF8).replace(b"\0", b" ").decode(errors="replace")


def _emptiness(head: bytes) -> str:
    if not head:
        return "it is empty"
    return "it holds NUL bytes alone" if not head.strip(b"\0") else "it holds white space alone"


def _described(text: str) -> str:
    line = text.strip().splitlines()[0][:60]
    return f"it begins with {line!r}" if line.isprintable() else "it is binary, of an unknown kind"
