"""The one place that knows the report's functions: a record as a table, as a page."""

import contextlib
import importlib.util
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from msgspec import json
from rich.console import Console

from topout import records
from topout.errors import InputError
from topout.machine.catalog.measured import roofs_for
from topout.records import (
    Climb,
    CostReport,
    CountCheck,
    ExampleReport,
    GemmReport,
    Hardware,
    LayersReport,
    MachineReport,
    ProfileReport,
    RunReport,
    TraceDiff,
    TraceReport,
    TraceRuns,
    TrainReport,
)
from topout.records.record import Record
from topout.report import describe
from topout.report.to_html import to_html
from topout.report.to_terminal import to_terminal


def _old(function: str) -> Callable[..., Any]:
    """A function of a kind that has no document yet: `folder.module:name`, imported when called."""
    module, _, name = function.partition(":")
    return lambda *arguments: getattr(importlib.import_module(f"topout.report.{module}"), name)(
        *arguments
    )


def _rooflines(record: CostReport) -> list[Any]:
    """None where a machine was made by hand with times and without roofs."""
    with contextlib.suppress(InputError):
        charts: list[Any] = _old("cost.rooflines:cost_rooflines")(record)
        return charts
    return []


def _cost_page(record: CostReport) -> Any:
    return _old("cost.page:cost_page")(record, _rooflines(record))


# By kind: table and page. Those without a function are described once, as a document.
_KINDS: dict[type[Record], tuple[Callable[[Any], Any] | None, Callable[[Any], Any] | None]] = {
    Climb: (None, None),
    CostReport: (_old("cost.table:cost_table"), _cost_page),
    CountCheck: (None, None),
    ExampleReport: (None, None),
    GemmReport: (None, None),
    Hardware: (None, None),
    LayersReport: (None, None),
    MachineReport: (None, None),
    ProfileReport: (None, None),
    RunReport: (None, None),
    TraceDiff: (None, None),
    TraceReport: (None, None),
    TraceRuns: (None, None),
    TrainReport: (None, None),
}
_BY_TAG = {kind.__struct_config__.tag: kind for kind in _KINDS}
_WITHOUT_PAGE = (CountCheck, Hardware, MachineReport)


def read_record(path: Path) -> Record:
    """The record of whichever kind the file says."""
    data = path.read_bytes()
    return records.decode(data, _BY_TAG[json.decode(data)["kind"]], path.name)


def terminal_text(record: Record, width: int) -> str:
    """The table of a record on a terminal so many columns wide, without colours."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    table = _KINDS[type(record)][0]
    console.print(table(record) if table else to_terminal(describe(record, **_options(record))))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def page_html(record: Record) -> str | None:
    """The page of a record; None where its kind has none."""
    if isinstance(record, _WITHOUT_PAGE):
        return None
    page = _KINDS[type(record)][1]
    if page:
        return page(record)
    return to_html(describe(record, **_options(record)))


def _options(record: Record) -> dict[str, Any]:
    """What a report is told beyond its record: the roofs of a roofline, the folder of a run."""
    if isinstance(record, RunReport):
        return {"hardware": roofs_for(record.machine, record.ceilings, record.workload.threads)}
    if isinstance(record, TrainReport):
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
        for module in ("topout.report.page", "topout.report.to_html"):
            if importlib.util.find_spec(module):
                stack.enter_context(mock.patch(f"{module}._picture", return_value=""))
                stack.enter_context(mock.patch(f"{module}._vega", return_value=""))
        stack.enter_context(mock.patch("altair.utils.schemapi.SchemaBase.validate"))
        yield
