"""Records → one document → a terminal, a page, Markdown, a notebook. Never imports torch.

Read `document.py`, then `to_terminal.py`, `to_html.py` and `blocks.py`, on which Markdown and the
notebook's fragment stand; a folder for each verb has its `document.py` and charts. `describe` finds
the document of any record. `main_table.py` is apart: raw figures for CSV and data frames.
"""

import dataclasses
import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from topout.visible_text import shown

if TYPE_CHECKING:
    from topout.records import Record
    from topout.report.document import Document

_DOCUMENTS = {
    "Climb": "climb.document:climb_document",
    "ClimbForecast": "climb.forecast:forecast_document",
    "CostReport": "cost.document:cost_document",
    "CountCheck": "cost.models:count_check_document",
    "ExampleReport": "example.document:example_document",
    "GemmReport": "gemm.document:gemm_document",
    "GenerateReport": "generate.document:generate_document",
    "Hardware": "machine.hardware:hardware_document",
    "LayersReport": "layers.document:layers_document",
    "MachineReport": "machine.document:machine_document",
    "ProfileReport": "profile.document:profile_document",
    "RunReport": "run.document:run_document",
    "TraceDiff": "trace.comparisons:trace_diff_document",
    "TraceReport": "trace.document:trace_document",
    "TraceRuns": "trace.comparisons:trace_runs_document",
    "TrainReport": "train.document:train_document",
}
"""By the name of the record's class: where its document is made."""
_LISTS = {
    "CostedModel": "cost.models:known_models_document",
    "Hardware": "machine.hardware:hardware_list_document",
}
"""The same of several records of one class."""


def describe(record: "Record | Sequence[Record]", **options: Any) -> "Document":
    """The document of a record, or of several of one kind.

    `options` are those of its maker, such as `top` of a trace. No name in it has control characters
    or line ends, so that none looks like a line or a row of the report; its record is as it was.
    """
    one, known = (record[0], _LISTS) if isinstance(record, Sequence) else (record, _DOCUMENTS)
    module, _, name = known[type(one).__name__].partition(":")
    make = getattr(importlib.import_module(f"topout.report.{module}"), name)
    document: Document = make(shown(record), **shown(options))
    if document.record is None or isinstance(record, Sequence):
        return document
    return dataclasses.replace(document, record=record)


def in_notebook(record: "Record", form: Literal["fragment", "markdown"]) -> str | None:
    """The document of a record as a notebook shows it; None for a part of another record."""
    if type(record).__name__ not in _DOCUMENTS:
        return None
    render = getattr(importlib.import_module(f"topout.report.to_{form}"), f"to_{form}")
    text: str = render(describe(record))
    return text
