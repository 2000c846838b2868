"""The ladder's rungs in the order they are climbed, and how one is found by its name."""

import importlib
from collections.abc import Sequence

from topout.errors import InputError, UnknownNameError
from topout.import_path import import_own
from topout.records import Task
from topout.rungs.rung import Rung


def _found_at(path: str) -> type[Rung]:
    module, _, name = path.partition(":")
    found: type[Rung] = getattr(importlib.import_module(f"topout.rungs.{module}"), name)
    return found


# A line a rung, in the order they are climbed. Exact rungs first: so the best exact stack is a
# prefix of the ladder, and measured as such.
RUNGS: tuple[type[Rung], ...] = tuple(
    _found_at(path)
    for path in (
        "transformers_eager:TransformersEager",
        "static_cache:StaticCacheRung",
        "trace:Trace",
        "compile:Compile",
        "generate_gemv:GenerateGemv",
        "native_linear:NativeLinearFp32",
        "speculate_lookup:SpeculateLookup",
        "speculate_draft:SpeculateDraft",
        "bf16:Bf16",
        "quantize_weights_int8:QuantizeWeightsInt8",
        "native_linear:NativeLinearBf16",
        "native_linear:NativeLinearInt8",
        "native_linear:NativeLinearInt8Dynamic",
        "native_linear:NativeLinearInt4",
    )
)
BASELINE = RUNGS[0].name
_FOUND: dict[str, Rung] = {rung.name: rung() for rung in RUNGS}  # the user's own join them


def rung_names(task: Task | None = None) -> list[str]:
    """Names of the rungs that come with topout, in ladder order; those of a task, or all."""
    return [rung.name for rung in RUNGS if task is None or task in rung.tasks]


def find_rung(name: str) -> Rung:
    """The rung of that name, or one of the user's own, `module:Class`, that was let in before.

    The same object each time. Raises UnknownNameError, or InputError for code that was not let in.
    """
    if ":" in name and name not in _FOUND:
        raise InputError(
            f"the rung {name!r} is code of your own: that a file names it does not make it run.",
            "Name it yourself, with --rungs or --stack.",
        )
    if name in _FOUND:
        return _FOUND[name]
    raise UnknownNameError("rung", name, rung_names(), f"Rungs are: {', '.join(rung_names())}.")


def own_rungs(names: Sequence[str] | None) -> list[str]:
    """Those of the names that are MODULE:CLASS, code of the user's own."""
    return [name for name in names or () if ":" in name]


def let_in(names: Sequence[str] | None) -> None:
    """Import the rungs among `names` that are the user's own, and those that they require.

    For names that the user's command line or Python gives, never a file: their modules run. Raises
    InputError.
    """
    for name in own_rungs(names):
        if name not in _FOUND:
            _FOUND[name] = _own_rung(name)
            let_in(_FOUND[name].requires)


def _own_rung(path: str) -> Rung:
    """A user's rung, called by its path, so that a worker can import it too."""
    try:
        found = import_own(path)
    except Exception as error:  # whatever the user's own module raises
        raise InputError(
            f"cannot import the rung {path!r} ({error}).",
            "Give MODULE:CLASS, with MODULE in the current folder or on PYTHONPATH.",
        ) from None
    if not (isinstance(found, type) and issubclass(found, Rung)):
        raise InputError(f"{path!r} is not a rung.", "Derive it from topout.rungs.rung.Rung.")
    renamed: type[Rung] = type(found.__name__, (found,), {"name": path})
    return renamed()


def required_by(rung: Rung, task: Task) -> list[str]:
    """The rungs that must be in force below one; those that are of other tasks need not."""
    return [name for name in rung.requires if task in find_rung(name).tasks]


def select_rungs(names: Sequence[str] | None, task: Task = "generate") -> list[Rung]:
    """The rungs to climb, baseline first; all of the task's ladder where `names` is None.

    They keep their order, but for one that an earlier one requires: it is climbed before that.
    Raises UnknownNameError or InputError, also for what a rung requires.
    """
    wanted = [BASELINE, *(rung_names(task) if names is None else names)]
    ordered: dict[str, Rung] = {}

    def add(name: str) -> None:
        rung = find_rung(name)
        for below in required_by(rung, task):
            add(below)
        if name in wanted:
            ordered.setdefault(name, rung)

    for name in wanted:
        add(name)
    return list(ordered.values())
