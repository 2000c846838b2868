"""`topout climb --dry-run`: the ladder as it is predicted, without climbing it."""

import time

from topout.generation.subject import model_summary, prepare
from topout.ladder.forecast import forecast
from topout.ladder.request import ClimbRequest
from topout.progress import Notify, silent
from topout.records import ClimbForecast
from topout.records.record import stamp
from topout.run_folder import RunFolder
from topout.rungs.registry import let_in
from topout.verbs.climb import calibrate, resolve_climb


def forecast_climb(
    request: ClimbRequest, *, notify: Notify = silent
) -> tuple[ClimbForecast, RunFolder]:
    """Predict every rung of a climb; returns the record and the folder that it lies in.

    The machine's ceilings and rates are measured where they are not on file. Raises a TopoutError
    for bad input, OutputError when the result cannot be written.
    """
    began = time.monotonic()
    let_in(request.rungs)
    rungs, subject, draft = resolve_climb(request)
    with RunFolder.create("forecast", subject.source.name) as folder:
        prepared = prepare(subject, request.text, subject.workload.new_tokens, folder)
        context, doubts = calibrate(request, prepared, rungs, folder, notify)
        notify("predict the ladder", 0.9)
        build = prepared.preparation("transformers", draft=draft).build()
        found, best = forecast(build, context, rungs, prepared.texts.path)
        record = ClimbForecast(
            **stamp(),
            elapsed_s=time.monotonic() - began,
            machine=prepared.machine,
            ceilings=context.ceilings,
            model=model_summary(prepared.source, draft),
            workload=prepared.workload,
            rungs=found,
            best=best.label,
            doubts=doubts,
        )
        folder.save(record)
    return record, folder
