"""Records → one document → a terminal, a page, Markdown. Never imports torch.

Read `document.py`, then `to_terminal.py`, `to_html.py` and `to_markdown.py`; a folder for each verb
has its `document.py` and charts. `describe` finds the document of any record.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from topout.records import Record
    from topout.report.document import Document

_DOCUMENTS = {
    "Climb": "climb.document:climb_document",
    "CostReport": "cost.document:cost_document",
    "CountCheck": "cost.models:count_check_document",
    "ExampleReport": "example.document:example_document",
    "GemmReport": "gemm.document:gemm_document",
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


def describe(record: "Record", **options: Any) -> "Document":
    """The document of a record; `options` are those of its maker, such as `top` of a trace."""
    module, _, name = _DOCUMENTS[type(record).__name__].partition(":")
    make = getattr(importlib.import_module(f"topout.report.{module}"), name)
    document: Document = make(record, **options)
    return document
