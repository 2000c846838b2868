"""Two independent counts of a model side by side, as a document."""

from topout.records import CountCheck
from topout.report.document import Column, Document, Paragraph, Row, Table


def count_check_document(check: CountCheck) -> Document:
    """What was counted, by formula and traced, and whether they agree."""
    columns = [Column("", text=True), *map(Column, ("by formula", "traced", "difference"))]
    rows = [
        Row([each.what, f"{each.formula:,}", f"{each.traced:,}", f"{each.difference:+,}"])
        for each in check.comparisons
    ]
    left_out = ", ".join(check.not_counted)
    return Document(
        record=check,
        title=check.model,
        about=(
            f"the formula against a run of {check.class_name} without weights, "
            f"{check.batch_size} × {check.length}, attention counted in full on both sides"
        ),
        headlines=[_verdict(check)],
        parts=[
            Table(columns, rows),
            *(
                Paragraph(f"{each.what}: {each.reason}.")
                for each in check.comparisons
                if each.reason is not None
            ),
            Paragraph(f"Not counted in the run: {left_out}." if left_out else ""),
            Paragraph(f"The run broke off: {check.failure}" if check.failure else "", "failed"),
        ],
    )


def _verdict(check: CountCheck) -> str:
    if not check.agrees:
        return "They do not agree."
    exact = not any(each.difference for each in check.comparisons)
    return "They agree exactly." if exact else "They agree but for what is explained:"
