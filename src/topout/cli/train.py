"""`topout train`."""

from topout.cli.outputs import PageOutputs, Result
from topout.progress import Notify
from topout.records import TrainReport
from topout.run_folder import RunFolder
from topout.train.plan import TrainRequest
from topout.visible_text import one_line


def _train(request: TrainRequest, outputs: PageOutputs, notify: Notify) -> Result:
    from topout.verbs.train_model import train_model

    record, folder = train_model(request, notify=notify)
    failure = _failure(record, folder)
    view = {"folder": str(folder.path)}
    return Result(record, folder, status=1 if failure else 0, note=failure, view=view)


def _failure(record: TrainReport, folder: RunFolder) -> str:
    """Why a case failed in one line, and how the log of the rank ends; "" where none did."""
    from topout.launch.local import last_lines

    failed = next((case for case in record.cases if case.status == "failed"), None)
    if failed is None:
        return ""
    lines = [one_line(f"topout: {failed.reason}")]
    if failed.log is not None:
        log = folder.path / failed.log
        lines += [f"The end of {log}:", *(f"  {line}" for line in last_lines(log))]
    return "\n".join(lines)


ANSWERS = {"": _train}
