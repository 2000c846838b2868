"""Climbs that a report must survive: empty, unmeasured, interrupted, and named like markup."""

from msgspec.structs import replace

from topout.records import Climb, Doubt, RungResult

from ..example_climb import MARKUP, example_climb


def empty_climb() -> Climb:
    """Interrupted before the first rung, on a machine whose ceilings are not known."""
    return replace(
        example_climb(),
        rungs=[],
        best=None,
        best_exact=None,
        duel=None,
        exact_duel=None,
        findings=[],
        doubts=[],
        ceilings=None,
        finished=False,
        reasons={"ceilings": "no compiler was found."},
    )


def unplaced_climb() -> Climb:
    """Every rung measured, but without ceilings, predictions, samples and memory."""
    climb = example_climb()
    return replace(
        climb, ceilings=None, duel=None, exact_duel=None, rungs=[_bare(r) for r in climb.rungs]
    )


def fruitless_climb() -> Climb:
    """A baseline, and a rung that crashed."""
    climb = example_climb()
    rungs = [climb.rungs[0], climb.rungs[-1]]
    return replace(climb, rungs=rungs, best=climb.baseline, duel=None, exact_duel=None)


def crashed_baseline() -> Climb:
    """The baseline itself failed, so that nothing was measured."""
    climb = example_climb()
    baseline = replace(climb.rungs[-1], name=climb.baseline, on=[], rival=None)
    return replace(climb, rungs=[baseline], best=None, duel=None, exact_duel=None)


def marked_up_climb() -> Climb:
    """Every text that comes from outside looks like a script."""
    climb = example_climb()
    doubt = Doubt(about=MARKUP, sentence=MARKUP, remedy=MARKUP)
    rungs = [
        replace(rung, change=MARKUP, reason=f"{MARKUP} {rung.reason}", doubts=[doubt])
        for rung in climb.rungs
    ]
    name = f"{MARKUP}</script><img src=x onerror=alert(1)>"
    rungs[3] = replace(rungs[3], name=name, reasons={MARKUP: MARKUP}, rival=MARKUP)
    rungs[5] = replace(rungs[5], on=["static_cache", name])
    stack = f"static_cache + {name} + int8_weights"
    assert climb.duel is not None
    return replace(
        climb,
        rungs=rungs,
        best=stack,
        duel=replace(climb.duel, champion=stack),
        model=replace(climb.model, name=MARKUP, architecture=MARKUP),
        machine=replace(climb.machine, cpu_model=MARKUP, hostname=MARKUP),
        findings=[MARKUP],
        doubts=[doubt],
        topout_version=MARKUP,
    )


HARD_CLIMBS = [
    example_climb,
    empty_climb,
    unplaced_climb,
    fruitless_climb,
    crashed_baseline,
    marked_up_climb,
]


def _bare(rung: RungResult) -> RungResult:
    phases = {
        phase: replace(
            result,
            mfu_of_ceiling=None,
            mbu_of_ceiling=None,
            ceiling_flops_per_s=None,
            ceiling_bytes_per_s=None,
        )
        for phase in ("prefill", "decode")
        if (result := getattr(rung, phase)) is not None
    }
    return replace(
        rung,
        prediction=None,
        predicted_speedup=None,
        speedup=None,
        speedup_over_baseline=None,
        samples=[],
        rival_samples=[],
        peak_memory_bytes=None,
        weight_bytes=None,
        ttft_s=None,
        verification=None,
        **phases,
    )
