"""Why a version is as fast as it is: bytes, instructions, simulated misses, hardware events."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from topout.errors import TopoutError
from topout.gemm.blockings import blocking_of
from topout.gemm.cachegrind import Simulation, simulate
from topout.gemm.case import Case, version_names
from topout.gemm.instruction_mix import MainLoop, main_loop
from topout.gemm.loop_nest import (
    Blocking,
    ModelledTraffic,
    blocking_traffic,
    cache_models,
    level_traffic,
)
from topout.gemm.sentences import (
    event_sentences,
    limit_sentences,
    loop_sentences,
    simulation_sentences,
    time_limits,
    traffic_sentences,
)
from topout.gemm.source_constants import macros_of, read_constants, up_to_avx2
from topout.gemm.worker_process import count_product
from topout.kernels.build import SOURCE_FOLDER
from topout.kernels.gemm_ops import GEMM_FOLDER, version_source
from topout.records.gemm import GemmExplanation, LevelTraffic
from topout.records.machine import Ceilings, Machine

_Found = TypeVar("_Found")
_LINE_BYTES = 64
# Events that count lines that come into a level.
_LINES_INTO = {"L1": ("l1d_load_misses", "l1d_store_misses"), "L3": ("llc_load_misses",)}


class _Modelled(NamedTuple):
    blocking: Blocking
    traffic: list[ModelledTraffic]


def explain(
    version: str,
    library: Path,
    case: Case,
    machine: Machine,
    *,
    packed_ahead: bool = False,
    source: Path | None = None,
    ceilings: Ceilings | None = None,
    measured_s: float | None = None,
    simulation: bool = True,
    events: bool = True,
) -> GemmExplanation:
    """Why a version takes the time that it takes for one product.

    `library`: the compiled version for this machine; `packed_ahead`: B is packed before;
    `source`: a user's own file, whose loops are not known. `ceilings` and `measured_s`, the
    seconds of one product, say what limits. `simulation` runs cachegrind for some seconds;
    `events` runs the product twice in another process where the machine has hardware counters.
    What cannot be had stands in `reasons` under "traffic", "instructions", "simulation" and
    "events"; nothing is raised for it.
    """
    reasons: dict[str, str] = {}
    own = source is not None or version not in version_names()
    modelled = _attempt(
        reasons, "traffic", lambda: _modelled(version, case, machine, packed_ahead, own)
    )
    loop = _attempt(reasons, "instructions", lambda: main_loop(library))
    counted = _events(library, case, machine, reasons) if events else {}
    traffic = level_traffic(modelled.traffic) if modelled else []
    sentences = _sentences(case, modelled, loop, ceilings, measured_s)
    if simulation:
        simulated = _attempt(
            reasons,
            "simulation",
            lambda: simulate(
                version,
                case,
                machine,
                cache_models(machine, 1),
                packed_ahead=packed_ahead,
                source=source,
            ),
        )
        if simulated is not None:
            if _same_shape(simulated.case, case):
                traffic += simulated.traffic
            expected = (
                [] if own else _modelled_simulation(version, simulated, case, machine, packed_ahead)
            )
            sentences += simulation_sentences(case, simulated, expected)
    return GemmExplanation(
        traffic=[*traffic, *_counted_traffic(counted)],
        instructions=loop.mix if loop else None,
        events=counted,
        sentences=[*sentences, *event_sentences(counted)],
        reasons=reasons,
    )


def _attempt(reasons: dict[str, str], name: str, find: Callable[[], _Found]) -> _Found | None:
    try:
        return find()
    except TopoutError as error:
        reasons[name] = str(error)
        return None


def _modelled(
    version: str, case: Case, machine: Machine, packed_ahead: bool, own: bool
) -> _Modelled:
    """The blocking of a version here; raises UnsupportedError for a file of the user's."""
    # A user's file may have the name of a version, and has other loops.
    constants = {} if own else _constants(version, macros_of(machine, case.dtype))
    blocking = blocking_of(
        "own source" if own else version, case, constants, packed_ahead=packed_ahead
    )
    return _Modelled(blocking, blocking_traffic(blocking, cache_models(machine, case.threads)))


def _constants(version: str, macros: dict[str, int]) -> dict[str, int]:
    return read_constants(version_source(version), macros, [GEMM_FOLDER, SOURCE_FOLDER])


def _modelled_simulation(
    version: str, simulated: Simulation, case: Case, machine: Machine, packed_ahead: bool
) -> list[ModelledTraffic]:
    """What the model says of the shape and the build that were simulated."""
    small = simulated.case
    constants = _constants(version, macros_of(up_to_avx2(machine), small.dtype))
    blocking = blocking_of(version, small, constants, packed_ahead=packed_ahead, whole=case)
    return blocking_traffic(blocking, simulated.caches)


def _same_shape(one: Case, other: Case) -> bool:
    return (one.m, one.n, one.k) == (other.m, other.n, other.k)


def _sentences(
    case: Case,
    modelled: _Modelled | None,
    loop: MainLoop | None,
    ceilings: Ceilings | None,
    measured_s: float | None,
) -> list[str]:
    traffic = modelled.traffic if modelled else []
    sentences = traffic_sentences(case, traffic) if traffic else []
    if loop is not None:
        sentences += loop_sentences(case, loop, modelled.blocking if modelled else None)
    if ceilings is not None and not case.is_empty:
        # Of few rows another loop runs than the one that was found.
        runs = modelled is None or case.m >= modelled.blocking.tile_rows
        limits = time_limits(case, traffic, loop if runs else None, ceilings)
        sentences += limit_sentences(case, limits, measured_s)
    return sentences


def _events(
    library: Path, case: Case, machine: Machine, reasons: dict[str, str]
) -> dict[str, float]:
    if machine.hardware_counters is False:
        reasons["events"] = machine.reasons.get(
            "hardware_counters", "this machine shows no hardware events"
        )
        return {}
    counts = _attempt(reasons, "events", lambda: count_product(library, case))
    if counts is None:
        return {}
    missing = {("events" if n == "events" else f"events.{n}"): r for n, r in counts.reasons.items()}
    reasons |= missing
    return counts.events


def _counted_traffic(events: dict[str, float]) -> list[LevelTraffic]:
    """Bytes by the lines that missed; a kind of miss that is not counted is left out."""
    return [
        LevelTraffic(
            level=level,
            bytes=_LINE_BYTES * sum(events.get(name, 0.0) for name in names),
            source="counters",
        )
        for level, names in _LINES_INTO.items()
        if names[0] in events
    ]
