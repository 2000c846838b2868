"""The lines to paste that put the best stack of a climb to use."""

import shlex

from topout.records import Climb
from topout.report.document import Facts, Paragraph, Section


def winner_sections(climb: Climb, folder: str | None) -> list[Section]:
    """What loads the best stack, and the best exact one where that is another, from the folder."""
    best = climb.best or _best_so_far(climb)
    if folder is None or best is None:
        return []
    parts: list[Facts | Paragraph] = []
    runs_once = climb.workload.task == "forward"
    if best == climb.baseline:
        sentence = f"The best stack here is the baseline itself, {climb.baseline}: go on with that."
        parts.append(Paragraph(sentence))
    else:
        parts.append(Facts(_lines(best, folder, exact=False, runs_once=runs_once)))
        if climb.best_exact not in (None, climb.best, climb.baseline):
            assert climb.best_exact is not None
            lines = _lines(climb.best_exact, folder, exact=True, runs_once=runs_once)
            parts.append(Facts(lines, "With the output unchanged"))
    return [Section("Use the winner", parts, key="winner")]


def _best_so_far(climb: Climb) -> str | None:
    """Of a climb that was interrupted: the last stack that it kept, if it kept any."""
    names = [name for name in climb.final_stack if name != climb.baseline]
    return " + ".join(names) or None


def _lines(label: str, folder: str, *, exact: bool, runs_once: bool) -> list[tuple[str, str]]:
    """Python and shell; a stack with a rung of the user's own is named, since only then it runs."""
    own = ":" in label
    python, shell = repr(folder), shlex.quote(folder)
    if own:
        python += f", stack={label!r}"
    elif exact:
        python += ", exact=True"
    option = f" --stack {shlex.quote(label)}" if own else " --exact" if exact else ""
    if runs_once:
        return [("Python", f"topout.load_pass({python})(batch)")]
    return [
        ("Python", f"topout.load({python}).generate('…')"),
        ("Shell", f"topout generate {shell} '…'{option}"),
    ]
