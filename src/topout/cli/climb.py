"""`topout climb` and `topout climb resume`."""

from topout.cli.outputs import PageOutputs, Result
from topout.ladder.request import ClimbRequest, ResumeRequest
from topout.progress import Notify


def _climb(request: ClimbRequest | ResumeRequest, outputs: PageOutputs, notify: Notify) -> Result:
    from topout.verbs.climb import UnsavedError, climb, resume

    try:
        if isinstance(request, ResumeRequest):
            return Result(*resume(request.folder, notify=notify))
        return Result(*climb(request, notify=notify))
    except UnsavedError as error:
        return Result(error.climb, error=error)


def _new(request: ClimbRequest, outputs: PageOutputs, notify: Notify) -> Result:
    return _climb(request, outputs, notify)


def _resume(request: ResumeRequest, outputs: PageOutputs, notify: Notify) -> Result:
    return _climb(request, outputs, notify)


ANSWERS = {"": _new, "resume": _resume}
