"""What a profile says, in sentences with the figures behind them, and what to doubt in it."""

from topout import units
from topout.records import Doubt, OperatorRate, PhaseProfile, ProfileReport

NOTABLE_SLOWDOWN = 1.25
NOTABLE_GAP = 0.1
UNACCOUNTED = 0.02
_FAR, _LONG = 0.5, 0.1  # of the roof; of the phase's time
_ROOFS = {"memory": "of the measured bandwidth", "compute": "of the measured arithmetic rate"}


def profile_findings(report: ProfileReport) -> list[str]:
    """Per phase: its longest operators, its parts, its distance from the roof, its gaps."""
    findings = []
    for phase in report.phases:
        findings += [
            sentence
            for sentence in (
                _operators(phase),
                _part(phase),
                _rate(phase),
                _gaps(phase),
                _waiting(phase, report.threads),
                *_devices(phase),
            )
            if sentence
        ]
    return findings


def _title(phase: PhaseProfile) -> str:
    return phase.name.capitalize()


def _operators(phase: PhaseProfile) -> str:
    longest = [each for each in phase.operators[:3] if each.self_share > 0]
    if not longest:
        return f"{_title(phase)} calls no operator of PyTorch."
    named = ", ".join(f"{each.name} {units.percent(each.self_share)}" for each in longest)
    return f"{_title(phase)} spends its time in {named}."


def _part(phase: PhaseProfile) -> str:
    parts = [part for part in phase.parts if part.self_share > 0][:3]
    if len(parts) < 2:
        return ""
    named = ", ".join(f"{part.name} {units.percent(part.self_share)}" for part in parts)
    return f"By parts, {phase.name} is {named}."


def _rate(phase: PhaseProfile) -> str:
    """The longest work: how near the roof it comes."""
    if not phase.rates or not phase.traced_s:
        return ""
    longest = phase.rates[0]
    share, what = nearest_roof(longest)
    if share is None:
        return ""
    name = f"{longest.name} of {longest.part}" if longest.part else longest.name
    text = f"In {phase.name} {name} reaches {units.percent(share)} {what}"
    far = share < _FAR and longest.time_s > _LONG * phase.traced_s
    return f"{text}: what is lost there is the first place to look." if far else f"{text}."


def nearest_roof(rate: OperatorRate) -> tuple[float | None, str]:
    """Share of the roof that binds, and its name in words; None where no roof is known."""
    compute, bandwidth = rate.of_compute_ceiling, rate.of_bandwidth_ceiling
    if compute is None or bandwidth is None:
        return None, ""
    if compute >= bandwidth:
        return compute, _ROOFS["compute"]
    return bandwidth, _ROOFS["memory"] + (f" of {rate.level}" if rate.level else "")


def _gaps(phase: PhaseProfile) -> str:
    if not phase.traced_s:
        return ""
    share = phase.gap_s / phase.traced_s
    text = f"{units.percent(share, 1)} of {phase.name} is in no operator"
    if share < NOTABLE_GAP:
        return f"{text}."
    where = f", most of it in {phase.gaps[0].part}" if phase.gaps else ""
    return f"{text}{where}: Python and the framework between the operators."


def _waiting(phase: PhaseProfile, threads: int) -> str:
    elapsed = phase.elapsed
    if elapsed is None:
        return ""
    return (
        f"Without the profiler {phase.name} keeps {units.counted(threads, 'thread')} busy "
        f"{units.percent(elapsed.processor_share)} of the "
        f"time ({units.seconds(elapsed.user_s)} user, {units.seconds(elapsed.system_s)} system)."
    )


def _devices(phase: PhaseProfile) -> list[str]:
    found = []
    for device in phase.devices:
        text = f"GPU {device.device} is busy {units.percent(device.utilization)} of {phase.name}"
        if device.occupancy is not None:
            text += f", at an occupancy of {units.percent(device.occupancy)}"
        found.append(f"{text}.")
    return found


def profile_doubts(report: ProfileReport) -> list[Doubt]:
    """What the profiler itself changed, and time that is not accounted for."""
    doubts = []
    for phase in report.phases:
        slowdown = phase.slowdown
        if slowdown is not None and slowdown.median > NOTABLE_SLOWDOWN:
            doubts.append(
                Doubt(
                    about=phase.name,
                    sentence=(
                        f"The profiler makes it {units.times(slowdown.median)} as long, and "
                        "short operators more than long ones."
                    ),
                    remedy="Take speeds from `topout run`, and shares from here.",
                )
            )
        if phase.unaccounted_share > UNACCOUNTED:
            doubts.append(
                Doubt(
                    about=phase.name,
                    sentence=(
                        f"{units.percent(phase.unaccounted_share, 1)} of its time by the clock is "
                        "neither in an operator nor in a gap of the trace."
                    ),
                    remedy="Run again, or profile fewer tokens.",
                )
            )
    return doubts
