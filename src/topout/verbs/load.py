"""`topout.load`: the winner of a climb, or a stack by its name, in the user's own code."""

import warnings

from topout.options import takes
from topout.winner.choice import choose
from topout.winner.loaded import LoadedModel
from topout.winner.request import LoadRequest


class LoadingDoubt(UserWarning):
    """Why a loaded model's text or speed may not be what was climbed."""


@takes(LoadRequest)
def load(request: LoadRequest) -> LoadedModel:
    """The model of a climb's folder under its best stack, or any model under a named one.

        with topout.load("topout-runs/…") as model:
            print(model.generate("def fibonacci(n):", max_new_tokens=40))

    Options are the fields of `LoadRequest`: `stack`, `exact`, `device`, `threads`, … A doubt about
    the climb (another machine, another version) is a warning, and in `doubts`. Raises InputError
    where the model has changed since the climb, RecordError for a damaged record, UnsupportedError
    where a rung does not apply here, UnknownNameError for a name that is none.
    """
    model = LoadedModel(choose(request))
    for doubt in model.doubts:
        warnings.warn(f"{doubt.sentence} {doubt.remedy}", LoadingDoubt, stacklevel=3)
    return model
