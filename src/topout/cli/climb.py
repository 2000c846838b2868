"""`topout climb` and `topout climb resume`."""

from topout.cli.outputs import PageOutputs, Result
from topout.ladder.request import ClimbRequest, ResumeRequest
from topout.progress import Progress


def _climb(
    request: ClimbRequest | ResumeRequest, outputs: PageOutputs, progress: Progress
) -> Result:
    from topout.verbs.climb import UnsavedError, climb, resume

    try:
        if isinstance(request, ResumeRequest):
            found = resume(
                request.folder, request.rungs, notify=progress, announce=progress.announce
            )
        else:
            found = climb(request, notify=progress, announce=progress.announce)
        record, folder = found
        return Result(record, folder, view={"folder": str(folder.path)})
    except UnsavedError as error:
        return Result(error.climb, error=error)


def _new(request: ClimbRequest, outputs: PageOutputs, progress: Progress) -> Result:
    if request.dry_run:
        from topout.verbs.forecast_climb import forecast_climb

        return Result(*forecast_climb(request, notify=progress))
    return _climb(request, outputs, progress)


def _resume(request: ResumeRequest, outputs: PageOutputs, progress: Progress) -> Result:
    return _climb(request, outputs, progress)


ANSWERS = {"": _new, "resume": _resume}
