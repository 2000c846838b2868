"""The ladder's rungs in the order they are climbed, and how a stack is put together from them."""

import importlib
from collections.abc import Sequence

from topout.errors import InputError, UnknownNameError
from topout.generation.build import Build
from topout.records import OutputClass, RungResult
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


def find_rung(name: str) -> Rung:
    """The rung of that name, or of your own: `module:Class`, importable from where you are.

    Raises UnknownNameError or InputError.
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
    """The rungs to climb, baseline first; all of the ladder where `names` is None."""
    chosen = list(names) if names is not None else rung_names()
    chosen = [name for name in dict.fromkeys(chosen) if name != BASELINE]
    return [find_rung(name) for name in [BASELINE, *chosen]]


def stack_with(champion: Sequence[str], rung: Rung) -> list[str]:
    """The names of the stack in which `rung` is tried: the champion's, what it requires, itself.

    What the rung excludes is left out, or what excludes it, and what stands on something left out.
    """
    names: list[str] = []
    for name in champion:
        below = find_rung(name)
        excluded = name in rung.excludes or rung.name in below.excludes
        if not excluded and all(required in names for required in below.requires):
            names.append(name)
    for required in rung.requires:
        if required not in names:
            names = _inserted(names, required)
    return [*names, rung.name]


def _inserted(names: list[str], required: str) -> list[str]:
    """`names` with `required` and all that it requires, as low in the ladder as they belong."""
    for below in find_rung(required).requires:
        if below not in names:
            names = _inserted(names, below)
    order = rung_names()
    place = sum(1 for name in names if name in order and order.index(name) < order.index(required))
    return [*names[:place], required, *names[place:]]


def class_of(stack: Sequence[str]) -> OutputClass:
    """The output class of a whole stack: exact only where all of its rungs are."""
    classes = {find_rung(name).output_class for name in stack}
    return "near" if "near" in classes else "exact"


def reason_to_skip(
    rung: Rung, stack: Sequence[str], build: Build, earlier: Sequence[RungResult]
) -> str | None:
    """Why a stack cannot be tried: a rung does not apply, or what it stands on is not sound."""
    broken = {each.name: each for each in earlier if each.status != "kept"}
    for name in stack:
        reason = find_rung(name).reason_to_skip(build)
        if reason is not None:
            return f"{reason[0].upper()}{reason[1:]}."
        below = broken.get(name)
        if name != rung.name and below is not None and not _is_sound(below):
            return f"It stands on {name}, which was {below.status}."
    return None


def _is_sound(result: RungResult) -> bool:
    """Whether a rung that was not kept may still carry others: it ran, and was right."""
    wrong = result.verification is not None and not result.verification.passed
    return result.status == "rejected" and not wrong
