"""`topout profile`."""

from topout.cli.outputs import PageOutputs, Result
from topout.profiling.request import ProfileRequest
from topout.progress import Notify


def _profile(request: ProfileRequest, outputs: PageOutputs, notify: Notify) -> Result:
    from topout.machine.catalog.measured import roofs_for
    from topout.verbs.profile_model import profile_model

    record, folder = profile_model(request, notify=notify)
    roofs = roofs_for(record.machine, record.ceilings, record.threads)
    trace = record.exports[0] if record.exports else "none"
    return Result(record, folder, page_view={"hardware": roofs}, places={"Trace": trace})


ANSWERS = {"": _profile}
