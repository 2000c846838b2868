"""The one place that knows the report's functions: a record as a table, as a page."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from rich.console import Console

from topout import records
from topout.machine.catalog.measured import roofs_for
from topout.records import (
    Climb,
    CountCheck,
    GenerateReport,
    Hardware,
    MachineReport,
    ProfileReport,
    RunReport,
    TrainReport,
)
from topout.records.record import Record
from topout.report import describe
from topout.report.to_csv import to_csv
from topout.report.to_html import to_html
from topout.report.to_markdown import to_markdown
from topout.report.to_terminal import to_terminal

_WITHOUT_PAGE = (CountCheck, GenerateReport, Hardware, MachineReport)


def read_record(path: Path) -> Record:
    """The record of whichever kind the file says."""
    return records.read(path)


def terminal_text(record: Record, width: int) -> str:
    """The table of a record on a terminal so many columns wide, without colours."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(to_terminal(describe(record, **_options(record))))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def markdown_text(record: Record) -> str:
    """A record as Markdown."""
    return to_markdown(describe(record, **_options(record)))


def csv_text(record: Record) -> str:
    """The main table of a record as CSV."""
    return to_csv(record)


def page_html(record: Record) -> str | None:
    """The page of a record; None where its kind has none."""
    if isinstance(record, _WITHOUT_PAGE):
        return None
    return to_html(describe(record, **_options(record)))


def _options(record: Record) -> dict[str, Any]:
    """What a report is told beyond its record: the roofs of a roofline, the folder of a run."""
    if isinstance(record, RunReport):
        return {"hardware": roofs_for(record.machine, record.ceilings, record.workload.threads)}
    if isinstance(record, Climb | TrainReport):
        return {"folder": "topout-runs/a-run"}
    if isinstance(record, ProfileReport):
        return {"hardware": roofs_for(record.machine, record.ceilings, record.threads)}
    return {}


@contextlib.contextmanager
def quick_pages() -> Iterator[None]:
    """Pages with their charts' specs, without the slow parts that other tests hold to account.

    Left out are the chart library, the static pictures and the check of specs against Vega-Lite's
    schema: all three together take nine tenths of the time.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch("topout.report.to_html._picture", return_value=""))
        stack.enter_context(mock.patch("topout.report.to_html.vega_bundle", return_value=""))
        stack.enter_context(mock.patch("altair.utils.schemapi.SchemaBase.validate"))
        yield
