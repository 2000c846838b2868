"""`topout gemm` and `topout gemm init`."""

from topout.cli.outputs import Outputs, PageOutputs, Result
from topout.gemm.request import GemmRequest, StartingPointRequest
from topout.progress import Notify
from topout.visible_text import one_line


def _compare(request: GemmRequest, outputs: PageOutputs, notify: Notify) -> Result:
    from topout.verbs.compare_gemms import compare_gemms, failed_versions

    record, folder = compare_gemms(request, notify=notify)
    return Result(record, folder, status=1 if failed_versions(record) else 0)


def _init(request: StartingPointRequest, outputs: Outputs, notify: Notify) -> Result:
    from topout.gemm.sources import write_starting_point

    write_starting_point(request.path)
    note = f"Wrote {request.path}. Next: topout gemm --source {request.path}"
    return Result(note=one_line(note))


ANSWERS = {"": _compare, "init": _init}
