"""Collectives: how much of their time is transfer, and how much is waiting for the late rank."""

from topout import units
from topout.records import CollectiveTime, Communication
from topout.report.charts.theme import BLUE, GREY, ORANGE
from topout.report.document import Chart
from topout.report.trace.bars import Bar, stacked_bars

_MOST = 12  # collectives; the shorter ones are one more bar
_COLOURS = {"transfer": BLUE, "waiting for the late rank": ORANGE, "not told apart": GREY}
_CAPTION = (
    "Mean of the ranks. A collective ends everywhere at once, so its shortest run on any rank is "
    "the transfer, and what it took longer elsewhere is waiting for the rank that came last."
)


def waiting_chart(communication: Communication) -> Chart | None:
    """A bar for each collective, the longest first; None where there are none."""
    found = sorted(communication.collectives, key=lambda each: (-each.total_s, each.name))
    if not found:
        return None
    names = [_name(each, found) for each in found]
    bars = [_bar(name, each) for name, each in zip(names, found, strict=True)]
    if len(bars) > _MOST:
        bars = [*bars[: _MOST - 1], _rest(bars[_MOST - 1 :])]
    spec = stacked_bars(bars, _COLOURS, "the collective's time")
    return Chart("collectives", "Transfer and waiting", _CAPTION, spec)


def _name(each: CollectiveTime, found: list[CollectiveTime]) -> str:
    alike = [other for other in found if other.name == each.name]
    if len(alike) == 1:
        return each.name
    group = each.group or f"group {alike.index(each) + 1}"
    clash = sum(other.group == each.group for other in alike) > 1
    return f"{each.name}, {group}" + (f" ({alike.index(each) + 1})" if clash else "")


def _bar(name: str, each: CollectiveTime) -> Bar:
    transfer, waiting = each.transfer_s or 0.0, each.waiting_s or 0.0
    parts = {
        "transfer": transfer,
        "waiting for the late rank": waiting,
        "not told apart": max(0.0, each.total_s - transfer - waiting),
    }
    about = [f"{each.calls:,} calls of {each.group_size or 'unknown'} ranks"]
    if each.late_rank is not None:
        about.append(f"mostly rank {each.late_rank} is late")
    return Bar(name, parts, units.seconds(each.total_s), ", ".join(about))


def _rest(bars: list[Bar]) -> Bar:
    parts = {part: sum(bar.parts.get(part, 0.0) for bar in bars) for part in _COLOURS}
    return Bar(f"{len(bars)} others", parts, units.seconds(sum(parts.values())))
