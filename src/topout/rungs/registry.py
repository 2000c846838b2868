"""The ladder's rungs in the order they are climbed, and how one is found by its name."""

import functools
import importlib
from collections.abc import Sequence

from topout.errors import InputError, UnknownNameError
from topout.rungs.bf16 import Bf16
from topout.rungs.compile import Compile
from topout.rungs.generate_gemv import GenerateGemv
from topout.rungs.native_linear import (
    NativeLinearBf16,
    NativeLinearFp32,
    NativeLinearInt4,
    NativeLinearInt8,
    NativeLinearInt8Dynamic,
)
from topout.rungs.quantize_weights_int8 import QuantizeWeightsInt8
from topout.rungs.rung import Rung
from topout.rungs.speculate_draft import SpeculateDraft
from topout.rungs.speculate_lookup import SpeculateLookup
from topout.rungs.static_cache import StaticCacheRung
from topout.rungs.transformers_eager import TransformersEager

BASELINE = TransformersEager.name

# Exact rungs first: so the best exact stack is a prefix of the ladder, and measured as such.
RUNGS: tuple[type[Rung], ...] = (
    TransformersEager,
    StaticCacheRung,
    Compile,
    GenerateGemv,
    NativeLinearFp32,
    SpeculateLookup,
    SpeculateDraft,
    Bf16,
    QuantizeWeightsInt8,
    NativeLinearBf16,
    NativeLinearInt8,
    NativeLinearInt8Dynamic,
    NativeLinearInt4,
)


def rung_names() -> list[str]:
    """Names of the rungs that come with topout, in ladder order."""
    return [rung.name for rung in RUNGS]


@functools.cache
def find_rung(name: str) -> Rung:
    """The rung of that name, or of your own: `module:Class`, importable from where you are.

    The same object each time. Raises UnknownNameError or InputError.
    """
    if ":" in name:
        return _import_rung(name)
    for rung in RUNGS:
        if rung.name == name:
            return rung()
    raise UnknownNameError("rung", name, rung_names(), f"Rungs are: {', '.join(rung_names())}.")


def _import_rung(path: str) -> Rung:
    module_name, _, class_name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # whatever the user's own module raises
        raise InputError(
            f"cannot import the rung {path!r} ({error}).",
            "Give MODULE:CLASS, with MODULE on PYTHONPATH.",
        ) from None
    if not (isinstance(found, type) and issubclass(found, Rung)):
        raise InputError(f"{path!r} is not a rung.", "Derive it from topout.rungs.rung.Rung.")
    # Known by its path, so that a worker can import it too.
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
