"""The ladder's rungs in the order they are climbed, and how one is found by its name."""

import functools
import importlib
from collections.abc import Sequence
from typing import Any

from topout.errors import InputError, UnknownNameError
from topout.rungs.rung import Rung


def _found_at(path: str) -> Any:
    """What `module:name` names; raises whatever the module does when it is imported."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


# A line a rung, in the order they are climbed. Exact rungs first: so the best exact stack is a
# prefix of the ladder, and measured as such.
RUNGS: tuple[type[Rung], ...] = tuple(
    _found_at(f"topout.rungs.{path}")
    for path in (
        "transformers_eager:TransformersEager",
        "static_cache:StaticCacheRung",
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


def rung_names() -> list[str]:
    """Names of the rungs that come with topout, in ladder order."""
    return [rung.name for rung in RUNGS]


@functools.cache
def find_rung(name: str) -> Rung:
    """The rung of that name, or of your own: `module:Class`, importable from where you are.

    The same object each time. Raises UnknownNameError or InputError.
    """
    if ":" in name:
        return _own_rung(name)
    for rung in RUNGS:
        if rung.name == name:
            return rung()
    raise UnknownNameError("rung", name, rung_names(), f"Rungs are: {', '.join(rung_names())}.")


def _own_rung(path: str) -> Rung:
    """A user's rung, called by its path, so that a worker can import it too."""
    try:
        found = _found_at(path)
    except Exception as error:  # whatever the user's own module raises
        raise InputError(
            f"cannot import the rung {path!r} ({error}).",
            "Give MODULE:CLASS, with MODULE on PYTHONPATH.",
        ) from None
    if not (isinstance(found, type) and issubclass(found, Rung)):
        raise InputError(f"{path!r} is not a rung.", "Derive it from topout.rungs.rung.Rung.")
    renamed: type[Rung] = type(found.__name__, (found,), {"name": path})
    return renamed()


def select_rungs(names: Sequence[str] | None) -> list[Rung]:
    """The rungs to climb, baseline first; all of the ladder where `names` is None.

    They keep their order, but for one that an earlier one requires: it is climbed before that.
    Raises UnknownNameError or InputError, also for what a rung requires.
    """
    wanted = [BASELINE, *(rung_names() if names is None else names)]
    ordered: dict[str, Rung] = {}

    def add(name: str) -> None:
        rung = find_rung(name)
        for below in rung.requires:
            add(below)
        if name in wanted:
            ordered.setdefault(name, rung)

    for name in wanted:
        add(name)
    return list(ordered.values())
