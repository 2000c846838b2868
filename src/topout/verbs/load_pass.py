"""`topout.load_pass`: the winner of a climb of one pass, in the user's own code."""

import warnings

from topout.options import takes
from topout.verbs.load import LoadingDoubt
from topout.winner.choice import choose
from topout.winner.loaded_pass import LoadedPass
from topout.winner.request import LoadRequest


@takes(LoadRequest)
def load_pass(request: LoadRequest) -> LoadedPass:
    """The encoder or image classifier of a climb's folder under its best stack, or any by name.

        model = topout.load_pass("topout-runs/…")
        logits = model(images)

    Options are the fields of `LoadRequest`; a draft and a context length are none of its. Raises as
    `topout.load` does.
    """
    model = LoadedPass(choose(request, "forward"))
    for doubt in model.doubts:
        warnings.warn(f"{doubt.sentence} {doubt.remedy}", LoadingDoubt, stacklevel=3)
    return model
