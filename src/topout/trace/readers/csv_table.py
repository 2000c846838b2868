"""The tables of a profiler's CSV output: between banners, with units, in any locale."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl

from topout.errors import InputError
from topout.progress import Notify
from topout.trace.readers.file_text import FileText

Contents = Literal["trace", "summary", "other"]

_TIME_NS = {"s": 1e9, "sec": 1e9, "ms": 1e6, "msec": 1e6, "us": 1e3, "µs": 1e3, "usec": 1e3} | {
    "ns": 1.0,
    "nsec": 1.0,
}
_SIZES = ("B", "KB", "MB", "GB", "TB")
# A header is looked for where a line begins so; all tables of nvprof, nsys and rocprof do.
_HEADER_STARTS = tuple(
    quote + word
    for word in (
        b"Start",
        b"Type",
        b"Time",
        b"Total",
        b"Device",
        b"Kind",
        b"Guid",
        b"Domain",
        b"Name",
        b"Index",
    )
    for quote in (b"", b'"')
)
# What the versions of rocprof call columns, in the words of the others; their times are in ns.
_ROCPROF_COLUMNS = {
    **dict.fromkeys(("start_timestamp", "beginns"), ("start", "ns")),
    **dict.fromkeys(("end_timestamp", "endns"), ("end", "ns")),
    "durationns": ("duration", "ns"),
    "totaldurationns": ("total time", "ns"),
    "minns": ("min", "ns"),
    "maxns": ("max", "ns"),
    **dict.fromkeys(("kernel_name", "kernelname", "function", "direction"), ("name", "")),
    **dict.fromkeys(("agent_id", "gpu-id"), ("device", "")),
    "source_agent_id": ("src dev", ""),
    "destination_agent_id": ("dst dev", ""),
    **dict.fromkeys(("queue_id", "queue-id"), ("queue", "")),
    "stream_id": ("stream", ""),
    "process_id": ("pid", ""),
    "thread_id": ("tid", ""),
}
_UNIT = re.compile(
    r"(?P<name>.+?)\s*(?:\((?P<unit>[^()]*)\)|:(?:ts|dur|mem|thru|ratio)_(?P<raw>.+))"
)
_BANNER_PROCESS = re.compile(rb"^==(\d{1,18})==", re.MULTILINE)
_WARNING = re.compile(rb"^==[^\n]*? Warning: ([^\n]{1,300})", re.MULTILINE)
_MOST_WARNINGS = 5
_BANNER_BYTES = 4096  # before a header, in which its process is looked for
_SAMPLE_LINES = 60
_LONGEST_COLUMN_NAME = 100
_LONGEST_LINE_BYTES = 64 << 20


@dataclass(frozen=True)
class Layout:
    """How one table of a file is written."""

    columns: tuple[str, ...]  # names in lower case without their units; each once
    units: Mapping[str, str]  # by column; a column without a unit is left out
    separator: str
    decimal: str = "."
    grouping: str = ""  # between the thousands, "" when there is nothing
    process: int | None = None  # of the banner before the table
    head_lines: int = 1  # 2 with a row of units under the names
    sample: tuple[tuple[str, ...], ...] = field(default=(), repr=False)

    @property
    def contents(self) -> Contents:
        """What the table holds, told from its columns."""
        names = set(self.columns)
        if {"start", "name"} <= names and names & {"duration", "end"}:
            return "trace"
        counted = names & {"calls", "instances", "count"}
        if names & {"name", "operation"} and names & {"time", "total time"} and counted:
            return "summary"
        return "other"

    def find(self, *names: str) -> str | None:
        """The first of these columns that the table has."""
        return next((name for name in names if name in self.columns), None)

    def nanoseconds(self, column: str) -> float | None:
        """The unit of a column of times in ns; None when the file does not say it."""
        return _TIME_NS.get(self.units.get(column, "").lower())

    def size_bytes(self, column: str, base: int) -> float | None:
        """The unit of a column of sizes in bytes, `base` being what the tool calls a kilo."""
        unit = self.units.get(column, "")
        if unit.lower() in ("byte", "bytes"):
            return 1.0
        step = 1024 if "i" in unit else base
        plain = unit.replace("i", "").upper()
        return float(step ** _SIZES.index(plain)) if plain in _SIZES else None

    def number(self, column: str) -> pl.Expr:
        """The column's texts as Float64; null where one is no number."""
        text = pl.col(column).str.strip_chars()
        if self.grouping:
            text = text.str.replace_all(self.grouping, "", literal=True)
        if self.decimal != ".":
            text = text.str.replace(self.decimal, ".", literal=True)
        return text.cast(pl.Float64, strict=False)

    def whole(self, column: str, scale: float) -> pl.Expr:
        """The column's numbers times `scale`, rounded; whole ones keep every digit."""
        rounded = (self.number(column) * scale).round().cast(pl.Int64, strict=False)
        if scale != 1.0:
            return rounded
        return pl.coalesce(pl.col(column).cast(pl.Int64, strict=False), rounded)


class Tables:
    """Iterates over (layout, rows) of the tables in a file; a long table comes in several parts.

    After the iteration `damage` holds in words what was cut off or left out, and what the tool
    itself warned of. Raises InputError for a line that no CSV has.
    """

    def __init__(self, text: FileText, notify: Notify | None = None) -> None:
        self.damage: list[str] = []
        self.fraction = 0.0  # of the file, as far as it was read
        self._text = text
        self._notify = notify
        self._broken_lines = 0

    def __iter__(self) -> Iterator[tuple[Layout, pl.DataFrame]]:
        layout: Layout | None = None
        for block in _with_whole_heads(self._whole_lines()):
            self._note_warnings(block)
            for part, begins in _split_at_headers(block, self._text.path):
                layout = begins or layout
                if layout is not None and layout.contents != "other":
                    yield layout, self._frame(layout, part)
        if self._broken_lines:
            self.damage.append(f"{self._broken_lines} lines with an unpaired quote were left out")
        if self._text.trouble:
            self.damage.append(
                f"the file is incomplete: {self._text.trouble}; what precedes that was used"
            )
        if self._text.null_bytes:
            self.damage.append(f"{self._text.null_bytes} NUL bytes were read as spaces")

    def _whole_lines(self) -> Iterator[bytes]:
        """Blocks of lines with `\\n` at their ends; only the last block may end without one."""
        path, rest = self._text.path, b""
        for piece in self._text:
            data = piece.data.replace(b"\r", b"")
            self.fraction = piece.fraction
            if end := data.rfind(b"\n") + 1:
                yield rest + data[:end]
            rest = data[end:] if end else rest + data
            if len(rest) > _LONGEST_LINE_BYTES:
                raise InputError(
                    f"{path} has a line of more than {_LONGEST_LINE_BYTES >> 20} MiB.",
                    "No profiler writes such a CSV; give the file that it wrote.",
                )
            if self._notify:
                self._notify(f"reading {path.name}", piece.fraction)
        if rest:
            yield rest

    def _note_warnings(self, block: bytes) -> None:
        """What the tool itself warned of between its banners, such as records that it lost."""
        if b" Warning: " not in block:
            return
        for text in _WARNING.findall(block):
            said = f"the profiler warned: {text.decode(errors='replace').strip()}"
            if said not in self.damage and len(self.damage) < _MOST_WARNINGS:
                self.damage.append(said)

    def _frame(self, layout: Layout, rows: bytes) -> pl.DataFrame:
        """The rows as texts; those that are no rows become rows of nulls."""
        if rows and not rows.endswith(b"\n"):
            rows = self._without_cut_line(layout, rows)
        schema = dict.fromkeys(layout.columns, pl.String())
        if not rows.strip():
            return pl.DataFrame(schema=schema)
        frame = _parsed(rows, layout, schema)
        if frame is None:
            # No name of these tools spans lines, so a line with an unpaired quote was cut or
            # mixed with other output; it would swallow the lines that follow it.
            lines = rows.split(b"\n")
            whole = [line for line in lines if line.count(b'"') % 2 == 0]
            self._broken_lines += len(lines) - len(whole)
            frame = _parsed(b"\n".join(whole) + b"\n", layout, schema)
        return frame if frame is not None else pl.DataFrame(schema=schema)

    def _without_cut_line(self, layout: Layout, rows: bytes) -> bytes:
        end = rows.rfind(b"\n") + 1
        line = rows[end:]
        if line.startswith(b"=") or not line.strip():
            return rows[:end]
        fields = len(_fields(line.decode(errors="replace"), layout.separator))
        if line.count(b'"') % 2 == 0 and fields >= len(layout.columns):
            return rows + b"\n"
        self.damage.append("the last line is cut off: only what precedes it was used")
        return rows[:end]


def _with_whole_heads(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks, but a header so near the end of one that few rows follow moves to the next."""
    held = b""
    for block in blocks:
        if held:
            keep = _late_header(held)
            yield held[:keep]
            held = held[keep:] + block
        else:
            held = block
    yield held


def _late_header(block: bytes) -> int:
    """Where the lines before the last header begin if few follow it; the block's end otherwise."""
    starts = _candidates(block)
    if not starts or block.count(b"\n", starts[-1]) > _SAMPLE_LINES:
        return len(block)
    return block.rfind(b"\n", 0, max(starts[-1] - _BANNER_BYTES, 0)) + 1


def _candidates(block: bytes) -> list[int]:
    """Offsets of the lines that begin like a header."""
    found = set()
    for start in _HEADER_STARTS:
        if block.startswith(start):
            found.add(0)
        at = block.find(b"\n" + start)
        while at >= 0:
            found.add(at + 1)
            at = block.find(b"\n" + start, at + 1)
    return sorted(found)


def _split_at_headers(block: bytes, path: Path) -> Iterator[tuple[bytes, Layout | None]]:
    """(rows, the layout that begins with them): rows before the first header have None."""
    begin, begins = 0, None
    for at in _candidates(block):
        lines = block[at : at + (1 << 18)].split(b"\n", _SAMPLE_LINES)[:_SAMPLE_LINES]
        texts = [line.decode(errors="replace") for line in lines]
        banners = _BANNER_PROCESS.findall(block, max(0, at - _BANNER_BYTES), at)
        layout = read_layout(texts, path, int(banners[-1]) if banners else None)
        if layout is None:
            continue
        yield block[begin:at], begins
        head = sum(len(line) + 1 for line in lines[: layout.head_lines])
        begin, begins = min(at + head, len(block)), layout
    yield block[begin:], begins


def read_layout(lines: Sequence[str], path: Path, process: int | None = None) -> Layout | None:
    """The layout of the table whose header is the first of `lines`; None if it is no header.

    Raises InputError when numbers with decimal commas stand between separating commas.
    """
    separator = max(",;\t", key=lines[0].count)
    header = _fields(lines[0], separator)
    if len(header) < 3:
        return None
    columns, units = _columns(header)
    rows = [_fields(line, separator) for line in lines[1:] if line[:1] != "="]
    head_lines = 1
    if rows and _is_units(rows[0]):
        head_lines = 2
        units.update(
            {name: unit for name, unit in zip(columns, rows[0], strict=False) if unit.strip()}
        )
    sample = [row for row in rows if len(row) > 1 and row[0][:1].isdigit()]
    if sample and sum(len(row) > len(columns) for row in sample) * 2 > len(sample):
        raise InputError(
            f"{path} has rows of more fields than its header: commas in numbers and commas "
            "between fields cannot be told apart.",
            "Export it again under LC_ALL=C, or with semicolons between the fields.",
        )
    numbers = [
        value
        for row in sample
        for name, value in zip(columns, row, strict=False)
        if name in ("start", "duration", "time", "total time", "avg", "min", "max")
    ]
    whole = units.get("start", units.get("total time", "")) in ("ns", "nsec")
    decimal, grouping = _number_style(numbers, whole)
    layout = Layout(
        columns=columns,
        units=units,
        separator=separator,
        decimal=decimal,
        grouping=grouping,
        process=process,
        head_lines=head_lines,
        sample=tuple(map(tuple, sample)),
    )
    return layout if {"name", "operation"} & set(columns) else None


def _columns(header: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Names of columns without units, each once, and the units that stand in the header."""
    names: list[str] = []
    units: dict[str, str] = {}
    for number, text in enumerate(header):
        match = _UNIT.fullmatch(text.strip()[:_LONGEST_COLUMN_NAME])
        unit = (match["unit"] or match["raw"] or "") if match else ""
        name = (match["name"] if match else text).strip().lower()
        name, unit = _ROCPROF_COLUMNS.get(name, (name, unit))
        if unit == "%":
            name = f"{name} share"
        if not name or name in names:
            name = f"{name} #{number}"
        names.append(name)
        if unit:
            units[name] = unit
    return tuple(names), units


def _is_units(row: Sequence[str]) -> bool:
    """nvprof's second row: `s,us,,,,,,,,KB,B,KB,MB/s,,,,`, of a summary `,%,s,,us,us,s,`."""
    filled = [text.strip() for text in row if text.strip()]
    known = {"%", *_TIME_NS, *(size.lower() for size in _SIZES)}
    return bool(filled) and all(text.lower() in known or text.endswith("/s") for text in filled)


def _number_style(texts: Sequence[str], whole: bool) -> tuple[str, str]:
    """(decimal point, what groups the thousands) of the numbers; `whole`: they have no decimals."""
    for text in texts:
        marks = [char for char in text if char in ".,"]
        if len(set(marks)) == 2:
            return (marks[-1], marks[0])
        if len(marks) > 1:
            return ("," if marks[0] == "." else ".", marks[0])
    if any("," in text for text in texts):
        return (".", ",") if whole else (",", "")
    return (".", "")


def _fields(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:  # a field longer than any name
        return []


def _parsed(rows: bytes, layout: Layout, schema: Mapping[str, pl.DataType]) -> pl.DataFrame | None:
    """The rows as texts, or None when quotes that are not closed joined lines."""
    try:
        frame = pl.read_csv(
            rows,
            has_header=False,
            schema=dict(schema),
            separator=layout.separator,
            comment_prefix="==",
            truncate_ragged_lines=True,
            encoding="utf8-lossy",
            raise_if_empty=False,
        )
    except pl.exceptions.PolarsError:
        return None
    comments = rows.count(b"\n==") + rows.startswith(b"==")
    return frame if frame.height + comments == rows.count(b"\n") else None
