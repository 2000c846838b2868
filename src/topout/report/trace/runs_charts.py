"""Charts of runs on other numbers of devices: shares per device, groups in sum per run."""

from topout import units
from topout.records import TraceRuns
from topout.report.document import Chart
from topout.report.trace.bars import GREY_PALE, Bar, choice_words, chosen, stacked_bars
from topout.report.trace.measures import device_rows, names_by_total
from topout.report.trace.time_charts import TIME_COLOURS, group_colours, time_parts

_MOST_GROUPS = 9
_REST = "all others"


def runs_charts(report: TraceRuns) -> dict[str, Chart]:
    """The charts by their keys, in the order of reading."""
    made = [_shares(report), _groups(report)]
    return {chart.key: chart for chart in made}


def _shares(report: TraceRuns) -> Chart:
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


def _groups(report: TraceRuns) -> Chart:
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
