"""Which profiler wrote a file: known by its content, never by its name."""

import re
from pathlib import Path

from topout.errors import InputError
from topout.trace.readers.file_text import Head, head_of, text_of
from topout.trace.table import TraceFormat

_SQLITE_MAGIC = b"SQLite format 3\0"
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
    if head.data.startswith(_SQLITE_MAGIC):
        return "nsys_sqlite"
    text = text_of(head.data)
    if not text.strip():
        raise InputError(f"{path} is not a trace: {_emptiness(head)}.", _REMEDY)
    if text.lstrip()[0] in "{[":
        return "kineto"
    if _NSYS.search(text) or _NSYS_BANNER.search(text):
        return "nsys_csv"
    if _NVPROF.search(text) or _NVPROF_BANNER.search(text):
        return "nvprof_csv"
    raise InputError(f"{path} is not a trace: {_described(text)}.", _REMEDY)


def _emptiness(head: Head) -> str:
    if not head.data:
        return head.trouble or "it is empty"
    return (
        "it holds NUL bytes alone" if not head.data.strip(b"\0") else "it holds white space alone"
    )


def _described(text: str) -> str:
    line = text.strip().splitlines()[0][:60]
    return f"it begins with {line!r}" if line.isprintable() else "it is binary, of an unknown kind"
