"""What a trace does not tell, and why."""

from topout.records import TraceReport
from topout.report.trace.words import device_labels


def all_reasons(report: TraceReport) -> dict[str, str]:
    """Everything that is missing in any part of the report; what all devices say alike, once."""
    reasons = {**report.reasons, **report.communication.reasons}
    labels = device_labels(report.ranks)
    for name in dict.fromkeys(name for each in report.ranks for name in each.reasons):
        said = [each.reasons.get(name) for each in report.ranks]
        if len(set(said)) == 1 and said[0] is not None:
            reasons[name] = said[0]
            continue
        reasons |= {
            f"{name}, {label}": reason
            for label, reason in zip(labels, said, strict=True)
            if reason is not None
        }
    return _joined(reasons)


def _joined(reasons: dict[str, str]) -> dict[str, str]:
    """The reasons, each once, under all the names that it explains."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return {", ".join(of): reason for reason, of in names.items()}
