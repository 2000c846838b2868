"""What was profiled and what it says, in sentences."""

from topout import units
from topout.records import PhaseProfile, ProfileReport
from topout.report.intervals import interval


def subject_sentence(report: ProfileReport) -> str:
    """The model or function and how it was run."""
    threads = f"on {report.threads} thread{'' if report.threads == 1 else 's'}"
    model, work = report.model, report.workload
    if model is None or work is None:
        return f"a function, called {threads}"
    where = f" on {work.device}" if work.device != "cpu" else ""
    return (
        f"{units.count(model.parameters)} parameters ({model.weights} weights), {work.dtype}, "
        f"{report.backend}, {threads}{where}; prompt {work.prompt_len} tokens, {work.new_tokens} "
        f"new, batch {work.batch_size}"
    )


def headlines(report: ProfileReport) -> list[str]:
    """One sentence per phase: its time, and what takes most of it."""
    sentences = [_headline(phase) for phase in report.phases]
    if not sentences:
        sentences.append("Nothing was profiled.")
    if report.model is not None and report.model.weights == "random":
        sentences.append("The weights are random: the times are real, the text is meaningless.")
    return sentences


def _headline(phase: PhaseProfile) -> str:
    text = f"{phase.name.capitalize()} takes {units.seconds(unprofiled_pass_s(phase))}"
    if phase.passes > 1:
        text += " a pass"
    parts = [part for part in phase.parts if part.self_share > 0][:2]
    if parts:
        named = " and ".join(f"{part.name} ({units.percent(part.self_share)})" for part in parts)
        text += f", most of it in {named}"
    return f"{text}; {units.percent(gap_share(phase))} of it in no operator."


def unprofiled_pass_s(phase: PhaseProfile) -> float:
    """Seconds of one pass without the profiler, or with it where nothing else was timed."""
    whole = phase.unprofiled_s.median if phase.unprofiled_s is not None else phase.wall_s
    return whole / max(phase.passes, 1)


def gap_share(phase: PhaseProfile) -> float:
    """The part of the phase's time that is in no operator."""
    return phase.gap_s / phase.traced_s if phase.traced_s else 0.0


def accounted_sentence(phase: PhaseProfile) -> str:
    """That operators and gaps add up to what the clock said."""
    overlap = (
        f" − {units.seconds(phase.overlap_s)} on several threads at once" if phase.overlap_s else ""
    )
    return (
        f"Operators {units.seconds(phase.operators_s)} + gaps {units.seconds(phase.gap_s)}{overlap}"
        f" = {units.seconds(phase.accounted_s)}; the clock says {units.seconds(phase.wall_s)} "
        f"({units.percent(phase.unaccounted_share, 2)} apart)."
    )


def slowdown_sentence(phase: PhaseProfile) -> str:
    """What the profiler itself costs."""
    slowdown, plain = phase.slowdown, phase.unprofiled_s
    if slowdown is None or plain is None:
        return "It was not timed without the profiler."
    return (
        f"Without the profiler it takes {units.seconds(plain.median)}: the profiled run is "
        f"{units.times(slowdown.median)} as long {interval(slowdown)}, from "
        f"{len(slowdown.pairs)} pair{'' if len(slowdown.pairs) == 1 else 's'} of runs in turns."
    )
