"""A climb on the terminal: the ladder as a table, verdicts, headline, findings and doubts."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from topout import units
from topout.records import Climb, Doubt
from topout.report.climb.headline import headlines
from topout.report.climb.rung_row import RungRow, rung_rows

# From this width on the reason has room enough beside its rung.
_WIDE = 130

_STYLES = {
    "baseline": "bold",
    "kept": "green",
    "rejected": "yellow",
    "skipped": "dim",
    "failed": "red",
}


def climb_table(climb: Climb) -> RenderableType:
    """A renderable of the whole result that adapts to the width of the terminal (80 and up)."""
    return _ClimbReport(climb)


class _ClimbReport:
    """Chooses the layout when the width is known."""

    def __init__(self, climb: Climb) -> None:
        self._climb = climb

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = rung_rows(self._climb)
        wide = options.max_width >= _WIDE
        yield _title(self._climb)
        yield _ladder(rows, wide)
        if not wide:
            yield _verdicts(rows)
        yield Text()
        for number, sentence in enumerate(headlines(self._climb)):
            yield Text(sentence, style="bold" if number == 0 else "")
        yield from _findings(self._climb)
        yield from _doubts(self._climb, rows)


def _title(climb: Climb) -> RenderableType:
    workload = climb.workload
    text = Text()
    text.append(climb.model.name, style="bold")
    text.append(
        f", {units.count(climb.model.parameters)} parameters ({climb.model.weights} weights), "
        f"{workload.dtype}, on {workload.device} with {workload.threads} thread"
        f"{'' if workload.threads == 1 else 's'}\n"
        f"prompt {workload.prompt_len} tokens, {workload.new_tokens} new, "
        f"batch {workload.batch_size}; {climb.machine.cpu_model}",
    )
    return Padding(text, (1, 0))


def _ladder(rows: list[RungRow], wide: bool) -> Table:
    gap = 2 if wide else 1
    table = Table(*_columns(wide), box=None, padding=(0, gap, 0, 0), pad_edge=False)
    for row in rows:
        style = "dim" if row.verdict in ("skipped", "failed") else ""
        cells: list[RenderableType] = [
            Text(row.mark, style=_STYLES[row.verdict]),
            Text(row.label, style=style),
            _two_lines(row.prefill, row.prefill_spread),
            _two_lines(row.decode, row.decode_spread),
            _two_lines(row.speedup, row.speedup_interval),
            Text(row.predicted),
            Text(row.over_baseline, style="bold" if row.is_best else ""),
            Text(f"{row.mfu}\n{row.mbu}" if row.measured else row.mfu),
            Text(row.memory),
        ]
        if wide:
            cells.append(Group(_verdict(row), Text(row.rung.reason)))
        table.add_row(*cells)
    return table


def _columns(wide: bool) -> list[Column]:
    spread = 9 if wide else 7
    columns = [
        Column("", width=1),
        Column("Rung", overflow="fold", min_width=16),
        Column("Prefill\ntok/s", justify="right", no_wrap=True, min_width=spread),
        Column("Decode\ntok/s", justify="right", no_wrap=True, min_width=spread),
        Column("Speedup\nover rival", justify="right", no_wrap=True),
        Column("Pre-\ndicted", justify="right", no_wrap=True),
        Column("Over\nbase", justify="right", no_wrap=True),
        Column("MFU\nMBU", justify="right", no_wrap=True),
        Column("Peak\nmemory", justify="right", no_wrap=True),
    ]
    if wide:
        columns.append(Column("Verdict and reason", min_width=30, ratio=1))
    return columns


def _two_lines(value: str, below: str) -> Text:
    return Text.assemble(value, ("\n" + below, "dim") if below else "")


def _verdict(row: RungRow) -> Text:
    best = " ★ best" if row.is_best else ""
    return Text(f"{row.mark} {row.verdict}{best}", style=_STYLES[row.verdict])


def _verdicts(rows: list[RungRow]) -> Table:
    """The verdict and reason of each rung, for terminals too narrow to hold them in the ladder."""
    table = Table(
        Column(no_wrap=True),
        Column(ratio=1),
        box=None,
        padding=(0, 1),
        pad_edge=False,
        show_header=False,
    )
    table.add_row()
    for row in rows:
        text = Text.assemble((row.label, "bold"), ": ", row.rung.reason or "no reason recorded")
        table.add_row(_verdict(row), text)
    return table


def _findings(climb: Climb) -> Iterator[RenderableType]:
    if climb.findings:
        yield Text("\nFindings", style="bold")
    for finding in climb.findings:
        yield _bullet("•", Text(finding))


def _doubts(climb: Climb, rows: list[RungRow]) -> Iterator[RenderableType]:
    doubts: list[tuple[str, Doubt]] = [("", doubt) for doubt in climb.doubts]
    doubts += [(row.label, doubt) for row in rows for doubt in row.rung.doubts]
    if doubts:
        yield Text("\nDoubts", style="bold")
    for label, doubt in doubts:
        about = f"{label}, {doubt.about}" if label else doubt.about
        text = Text.assemble((f"{about}: ", "yellow"), doubt.sentence, " ", (doubt.remedy, "dim"))
        yield _bullet("?", text)


def _bullet(mark: str, text: Text) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(ratio=1)
    grid.add_row(mark, text)
    return grid
