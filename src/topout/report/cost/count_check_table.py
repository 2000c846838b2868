"""Two independent counts of a model side by side, for the terminal."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from topout.records import CountCheck


def count_check_table(check: CountCheck) -> RenderableType:
    """What was counted, by formula and traced, and whether they agree; for 80 columns."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for heading in ("by formula", "traced", "difference"):
        table.add_column(heading, justify="right")
    for each in check.comparisons:
        table.add_row(each.what, f"{each.formula:,}", f"{each.traced:,}", f"{each.difference:+,}")
    parts: list[RenderableType] = [
        Text(
            f"{check.model}: the formula against a run of {check.class_name} without weights, "
            f"{check.batch_size} × {check.length}, attention counted in full on both sides"
        ),
        table,
        Text(_verdict(check), style="bold"),
        *(
            Text(f"{each.what}: {each.reason}.")
            for each in check.comparisons
            if each.reason is not None
        ),
    ]
    if check.not_counted:
        parts.append(Text(f"Not counted in the run: {', '.join(check.not_counted)}."))
    if check.failure is not None:
        parts.append(Text(f"The run broke off: {check.failure}"))
    return Group(*parts)


def _verdict(check: CountCheck) -> str:
    if not check.agrees:
        return "They do not agree."
    exact = not any(each.difference for each in check.comparisons)
    return "They agree exactly." if exact else "They agree but for what is explained:"
