"""What a prediction stands on and what it leaves out, as sentences of all machines together."""

from topout.records import CostReport
from topout.report.cost.machine_rows import machine_reasons
from topout.report.cost.words import placed


def assumptions(report: CostReport) -> list[str]:
    """Each assumption once, with the machines that it was made for where not all made it."""
    made: dict[str, list[str]] = {}
    for machine in report.machines:
        for assumption in machine.assumptions:
            made.setdefault(assumption, []).append(machine.name)
    sentences = []
    for sentence, names in made.items():
        named = len(names) == len(report.machines) or sentence.startswith(f"{names[0]}:")
        sentences.append(sentence if named else f"{', '.join(names)}: {sentence}")
    return sentences


def reasons(report: CostReport) -> list[str]:
    """What is absent and why: "h200, decode: its file states no bandwidth"."""
    here = {machine.name for machine in placed(report)}
    return [
        f"{machine.name}, {fields}: {reason}" if machine.name in here else f"{fields}: {reason}"
        for machine in report.machines
        for fields, reason in machine_reasons(machine).items()
    ]
