"""`topout trace` and its sub-commands."""

from typing import Annotated

from topout.cli.outputs import PageOutputs, Result
from topout.options import Option
from topout.progress import Notify
from topout.trace.request import DiffRequest, RunsRequest, TraceRequest


class TraceOutputs(PageOutputs, frozen=True, kw_only=True):
    """What `topout trace` and `topout trace diff` show and write."""

    top: Annotated[int, Option("Kernels of a device to show.", least=1)] = 10


def _report(request: TraceRequest, outputs: TraceOutputs, notify: Notify) -> Result:
    from topout.verbs.trace import report_trace

    record, folder = report_trace(request, notify=notify)
    return Result(record, folder, view={"top": outputs.top})


def _diff(request: DiffRequest, outputs: TraceOutputs, notify: Notify) -> Result:
    from topout.verbs.trace import diff_traces

    record, folder = diff_traces(request, notify=notify)
    return Result(record, folder, view={"top": outputs.top})


def _runs(request: RunsRequest, outputs: PageOutputs, notify: Notify) -> Result:
    from topout.verbs.trace import compare_runs

    record, folder = compare_runs(request, notify=notify)
    return Result(record, folder)


ANSWERS = {"": _report, "diff": _diff, "runs": _runs}
