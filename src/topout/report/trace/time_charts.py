"""Charts of where the time of devices goes: a stacked bar for each device, collective or run."""

from collections.abc import Callable, Mapping, Sequence

from topout import units
from topout.records import CollectiveTime, Communication, DeviceTime, TraceRuns
from topout.report.charts.theme import AMBER, BLUE, GREEN, GREY, ORANGE, PINK, RUNG_COLOURS, SKY
from topout.report.document import Chart
from topout.report.trace.bars import GREY_FAINT, GREY_PALE, Bar, choice_words, chosen, stacked_bars
from topout.report.trace.measures import IDLE_CAUSES, device_labels, device_rows, names_by_total

# They do not overlap and together are the wall time of the device.
TIME_COLOURS = {
    "compute alone": BLUE,
    "both at once": "#7a6fd0",
    "communication alone": ORANGE,
    "copies and fills": GREEN,
    "idle": GREY_FAINT,
    "not recorded": GREY_PALE,
}
_GROUP_COLOURS = {
    "matrix-mul": BLUE,
    "communication": ORANGE,
    "memory": GREEN,
    "attention": PINK,
    "element-wise": AMBER,
    "normalization": SKY,
    "reduction": "#7a6fd0",
    "optimizer": "#6f8f1f",
    "host": "#a0522d",
    "data loading": "#d08b6a",
    "launch": "#4d5866",
    "between kernels": GREY_FAINT,
    "other": GREY,
}
_MOST_PARTS = 9  # kinds that a chart tells apart; the smaller ones are one more
_REST = "all others"


def time_parts(device: DeviceTime) -> dict[str, float]:
    """The wall time in parts that do not overlap, in seconds; those of a summary are sums."""
    exposed_s = device.exposed_communication_s
    if exposed_s is None:
        return {
            "compute alone": device.compute_s,
            "communication alone": device.communication_s,
            "copies and fills": device.memory_s or 0.0,
        }
    hidden = device.communication_s - exposed_s
    parts = {
        "compute alone": device.compute_s - hidden,
        "both at once": hidden,
        "communication alone": exposed_s,
        "copies and fills": device.busy_s - device.compute_s - exposed_s,
        "idle": device.idle_s or 0.0,
    }
    if device.unknown_s:
        parts["not recorded"] = device.unknown_s
    return {name: max(0.0, value) for name, value in parts.items()}


_NOT_RECORDED = " Not recorded: work was launched of which nothing is known."


def time_charts(ranks: Sequence[DeviceTime]) -> list[Chart]:
    """Busy and idle time, kernel groups, idle causes, critical path: those that are known."""
    made = [
        _chart(
            ranks,
            "time",
            "Where the time goes",
            "Parts that do not overlap; together they are the time from the device's first event "
            "to its last. Both at once: compute and communication. Copies and fills: those that "
            f"ran beside neither.{_NOT_RECORDED if any(r.unknown_s for r in ranks) else ''}",
            time_parts,
            TIME_COLOURS,
        ),
        _chart(
            ranks,
            "groups",
            "Groups",
            "Durations in sum: where two run at once, both count.",
            lambda each: {group.name: group.total_s for group in each.groups},
        ),
        _chart(
            ranks,
            "idle",
            "Idle: why",
            "The host was late: it launched what came next only after the device had run out of "
            "work. Waiting for communication: what came next was launched in time, and the device "
            "waited for another, or the host itself sat in a collective.",
            lambda each: {IDLE_CAUSES[idle.cause]: idle.total_s for idle in each.idle},
            dict(zip(IDLE_CAUSES.values(), ("#a0522d", ORANGE, GREY), strict=True)),
        ),
        _chart(
            ranks,
            "critical_path",
            "The critical path of a step",
            "From the step's end backwards, always to what was waited for: what is not on the "
            "path could take no time at all, and the step would last as long. The parts sum to "
            "the step.",
            lambda each: {part.name: part.total_s for part in each.critical_path},
        ),
    ]
    return [chart for chart in made if chart is not None]


def _chart(
    ranks: Sequence[DeviceTime],
    key: str,
    title: str,
    caption: str,
    parts_of: Callable[[DeviceTime], dict[str, float]],
    colours: Mapping[str, str] | None = None,
) -> Chart | None:
    """A bar for each device that has such parts; None where no device has any."""
    known = [
        (label, device, parts)
        for label, device in zip(device_labels(ranks), ranks, strict=True)
        if any((parts := parts_of(device)).values())
    ]
    if not known:
        return None
    places = chosen([device.busy_s for _, device, _ in known])
    shown = [known[place] for place in places]
    names = names_by_total([parts for _, _, parts in shown])
    kept = names if len(names) <= _MOST_PARTS + 1 else names[:_MOST_PARTS]
    bars = [_bar(label, device, parts, kept) for label, device, parts in shown]
    palette = colours or group_colours(kept)
    if len(kept) < len(names):
        palette = {**palette, _REST: GREY_PALE}
    words = caption + choice_words(len(shown), len(known))
    return Chart(key, title, words, stacked_bars(bars, palette))


def _bar(label: str, device: DeviceTime, parts: Mapping[str, float], kept: Sequence[str]) -> Bar:
    shown = {name: parts.get(name, 0.0) for name in kept}
    shown[_REST] = sum(value for name, value in parts.items() if name not in kept)
    return Bar(label, shown, units.seconds(sum(parts.values())), device.name or "")


def group_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each group: its own where it has one, else one that no other has taken."""
    free = [colour for colour in (*RUNG_COLOURS, "#4d5866", "#c9a0dc") if colour != GREY]
    taken = {_GROUP_COLOURS[name] for name in names if name in _GROUP_COLOURS}
    spare = [colour for colour in free if colour not in taken]
    colours = {}
    for name in names:
        own = _GROUP_COLOURS.get(name)
        colours[name] = own or (spare.pop(0) if spare else GREY)
    return colours


_MOST_COLLECTIVES = 12  # collectives; the shorter ones are one more bar
_COLLECTIVE_COLOURS = {
    "transfer": BLUE,
    "waiting for the late rank": ORANGE,
    "not told apart": GREY,
}
_COLLECTIVES = (
    "Mean of the ranks. A collective ends everywhere at once, so its shortest run on any rank is "
    "the transfer, and what it took longer elsewhere is waiting for the rank that came last."
)


def waiting_chart(communication: Communication) -> Chart | None:
    """A bar for each collective, the longest first; None where there are none."""
    found = sorted(communication.collectives, key=lambda each: (-each.total_s, each.name))
    if not found:
        return None
    names = [_collective_name(each, found) for each in found]
    bars = [_collective_bar(name, each) for name, each in zip(names, found, strict=True)]
    if len(bars) > _MOST_COLLECTIVES:
        bars = [*bars[: _MOST_COLLECTIVES - 1], _other_collectives(bars[_MOST_COLLECTIVES - 1 :])]
    spec = stacked_bars(bars, _COLLECTIVE_COLOURS, "the collective's time")
    return Chart("collectives", "Transfer and waiting", _COLLECTIVES, spec)


def _collective_name(each: CollectiveTime, found: list[CollectiveTime]) -> str:
    alike = [other for other in found if other.name == each.name]
    if len(alike) == 1:
        return each.name
    group = each.group or f"group {alike.index(each) + 1}"
    clash = sum(other.group == each.group for other in alike) > 1
    return f"{each.name}, {group}" + (f" ({alike.index(each) + 1})" if clash else "")


def _collective_bar(name: str, each: CollectiveTime) -> Bar:
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


def _other_collectives(bars: list[Bar]) -> Bar:
    parts = {part: sum(bar.parts.get(part, 0.0) for bar in bars) for part in _COLLECTIVE_COLOURS}
    return Bar(f"{len(bars)} others", parts, units.seconds(sum(parts.values())))


_MOST_GROUPS = 9


def runs_charts(report: TraceRuns) -> dict[str, Chart]:
    """The charts by their keys, in the order of reading."""
    made = [_run_shares(report), _run_groups(report)]
    return {chart.key: chart for chart in made}


def _run_shares(report: TraceRuns) -> Chart:
    rows = device_rows(report.runs)
    devices = [row.run.ranks[row.place] for row in rows]
    places = chosen([device.busy_s for device in devices])
    bars = [
        Bar(
            rows[place].label,
            time_parts(devices[place]),
            units.seconds(devices[place].wall_s),
            devices[place].name or "",
        )
        for place in places
    ]
    caption = (
        "Each device's time from its first event to its last, in parts that do not overlap. At the "
        "end of a bar stands that time."
    )
    return Chart(
        "shares",
        "What each device's time goes into",
        caption + choice_words(len(places), len(rows)),
        stacked_bars(bars, TIME_COLOURS, share_of="the device's time"),
    )


def _run_groups(report: TraceRuns) -> Chart:
    found = [{group.name: group.total_s for group in run.groups} for run in report.runs]
    names = names_by_total(found)
    kept = names if len(names) <= _MOST_GROUPS + 1 else names[:_MOST_GROUPS]
    bars = [
        Bar(
            run.name,
            {name: groups.get(name, 0.0) for name in kept}
            | {_REST: sum(value for name, value in groups.items() if name not in kept)},
            units.seconds(sum(groups.values())),
            f"{run.devices} devices" if run.devices > 1 else "1 device",
        )
        for run, groups in zip(report.runs, found, strict=True)
    ]
    palette = group_colours(kept)
    if len(kept) < len(names):
        palette = {**palette, _REST: GREY_PALE}
    return Chart(
        "groups",
        "What all devices together spend",
        "Durations in sum over the devices of a run: with the same work and nothing lost, all bars "
        "would be of one length. What a bar is longer by is what more devices cost.",
        stacked_bars(bars, palette, "the run"),
    )
