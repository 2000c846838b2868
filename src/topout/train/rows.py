"""Rows of text out of a user's file; a row that cannot be used is named by its line.

Lines are parsed one by one where the format has lines, since a parser of whole columns does not
know which line a row began on.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from topout.errors import InputError, UnsupportedError
from topout.input_file import MOST_TEXT_BYTES, open_input, read_input
from topout.units import counted

_SHOWN_FAULTS = 3
_LINES = (".jsonl", ".ndjson")
_TABLES = (".csv", ".tsv")
_PARQUET = (".parquet",)
_TEXTS = (".txt", ".text", ".md", ".py")
FORMATS = (*_LINES, *_TABLES, *_PARQUET, *_TEXTS)


@dataclass
class Rows:
    """Texts with their labels, in the order of the file, and what was wrong with other rows."""

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)  # empty where none were asked for
    faults: list[str] = field(default_factory=list)  # "line 7: no field `label`"


def read_rows(
    path: Path, text_column: str, label_column: str | None, *, skip_bad_rows: bool = False
) -> Rows:
    """The rows of a JSON Lines, CSV, TSV, Parquet or text file, recognised by its ending.

    A text file is one row and has no labels. Raises InputError that names the first bad lines
    unless `skip_bad_rows`, and for a file without any good row, UnsupportedError for an ending
    that is not known.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UnsupportedError(
            f"{path}: the ending {suffix or 'of the name'} is of no format that is read.",
            f"Give a file that ends in {', '.join(FORMATS)}.",
        )
    rows = Rows()
    try:
        if suffix in _TEXTS:
            _read_text(path, label_column, rows)
        else:
            reader = _json_lines if suffix in _LINES else _table if suffix in _TABLES else _parquet
            for where, row in reader(path):
                _take(rows, where, row, text_column, label_column)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.", "Check the path.") from None
    _refuse_faults(path, rows, skip_bad_rows)
    return rows


def _take(rows: Rows, where: str, row: Any, text_column: str, label_column: str | None) -> None:
    """Keep a row, or the reason why not; `row` is a mapping, or the fault itself."""
    if isinstance(row, str):
        rows.faults.append(f"{where}: {row}")
        return
    text = row.get(text_column)
    if not isinstance(text, str) or not text.strip():
        rows.faults.append(f"{where}: {_lack(row, text_column, 'text')}")
        return
    if label_column is not None:
        label = row.get(label_column)
        if isinstance(label, bool) or not isinstance(label, str | int) or label == "":
            rows.faults.append(f"{where}: {_lack(row, label_column, 'text or whole number')}")
            return
        rows.labels.append(str(label))
    rows.texts.append(text)


def _lack(row: dict[str, Any], column: str, kind: str) -> str:
    if column not in row:
        return f"no `{column}` among {', '.join(f'`{name}`' for name in row) or 'no columns'}"
    value = row[column]
    if value is None or (isinstance(value, str) and not value.strip()):
        return f"`{column}` is empty"
    return f"`{column}` is no {kind}"


def _refuse_faults(path: Path, rows: Rows, skip_bad_rows: bool) -> None:
    if rows.faults and not skip_bad_rows:
        shown = "; ".join(rows.faults[:_SHOWN_FAULTS])
        more = len(rows.faults) - _SHOWN_FAULTS
        raise InputError(
            f"{path} has {counted(len(rows.faults), 'bad row')}: {shown}"
            + (f"; and {more} more." if more > 0 else "."),
            "Correct them, name other columns, or leave them out with --skip-bad-rows.",
        )
    if not rows.texts:
        raise InputError(f"{path} has no row that can be used.", "Give a file with text in it.")


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    decoder = msgspec.json.Decoder()
    with open_input(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                yield f"line {number}", f"not valid JSON ({error})"
                continue
            yield f"line {number}", row if isinstance(row, dict) else "no JSON object"


def _table(path: Path) -> Iterator[tuple[str, Any]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    # A field may be as long as a document; the default limit is 128 KiB.
    csv.field_size_limit(1 << 30)
    with io.TextIOWrapper(
        open_input(path), encoding="utf-8-sig", errors="surrogateescape", newline=""
    ) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise InputError(
                f"{path}, line 1: {error}.", "Give a CSV file with a header."
            ) from None
        began = reader.line_num + 1
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield f"line {began}", f"not valid CSV ({error})"
                began = reader.line_num + 1
                continue
            if cells:
                yield f"line {began}", _row_of(header, cells)
            began = reader.line_num + 1


def _row_of(header: list[str], cells: list[str]) -> Any:
    if len(cells) != len(header):
        return f"{len(cells)} cells under {len(header)} columns"
    if any(not cell.isascii() and _is_broken(cell) for cell in cells):
        return "not UTF-8"
    return dict(zip(header, cells, strict=True))


def _is_broken(cell: str) -> bool:
    try:
        cell.encode("utf-8")
    except UnicodeEncodeError:  # bytes that were no UTF-8 were read as lone surrogates
        return True
    return False


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import polars as pl

    try:
        frame = pl.read_parquet(io.BytesIO(read_input(path, MOST_TEXT_BYTES)))
    except pl.exceptions.PolarsError as error:
        first_line = str(error).splitlines()[0]
        raise InputError(
            f"{path} is not a Parquet file ({first_line}).", "Write it again."
        ) from None
    for number, row in enumerate(frame.iter_rows(named=True), 1):
        yield f"row {number}", row


def _read_text(path: Path, label_column: str | None, rows: Rows) -> None:
    if label_column is not None:
        raise InputError(
            f"{path} is plain text and has no labels to learn.",
            "Give --task lm, or a JSON Lines, CSV or Parquet file with a label column.",
        )
    data = read_input(path, MOST_TEXT_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte {error.start}).", "Convert it to UTF-8."
        ) from None
    if text.strip():
        rows.texts.append(text)
