"""The main table of a record as CSV, whose texts no spreadsheet takes for formulas."""

import csv
import io
import re
from collections.abc import Sequence

from topout.records import Record
from topout.report.main_table import Scalar, main_table
from topout.visible_text import visible

# What begins a formula, also in its full width; OWASP, "CSV Injection". `visible` takes out the
# tabulator and the carriage return.
_FORMULA = re.compile("[=+\\-@\n＝＋－＠]")


def to_csv(record: Record | Sequence[Record]) -> str:
    """A line of column names and one for each row; what is None is empty.

    Raises InputError where the record has no table.
    """
    columns, rows = main_table(record)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: Scalar) -> Scalar:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return value
    shown = visible(value)
    return f"'{shown}" if _FORMULA.match(shown) else shown
