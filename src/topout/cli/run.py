"""`topout run`."""

from topout.cli.outputs import PageOutputs, Result
from topout.progress import Notify
from topout.verbs.run_request import RunRequest


def _run(request: RunRequest, outputs: PageOutputs, notify: Notify) -> Result:
    from topout.machine.catalog.measured import roofs_for
    from topout.verbs.run_model import run_model

    record, folder = run_model(request, notify=notify)
    roofs = roofs_for(record.machine, record.ceilings, record.workload.threads)
    failed = record.gemm is not None and not record.gemm.passed
    return Result(record, folder, 1 if failed else 0, page_view={"hardware": roofs})


ANSWERS = {"": _run}
