"""A comparison of matrix products as one HTML page that holds everything it shows."""

from dataclasses import dataclass

from topout import units
from topout.records import GemmExplanation, GemmReport, GemmResult, GemmShape, InstructionMix
from topout.report.gemm.charts import gemm_charts
from topout.report.gemm.rows import (
    GemmRow,
    gemm_rows,
    rate_unit,
    report_title,
    shape_facts,
    shape_title,
)
from topout.report.machine.facts import (
    bandwidth_rows,
    compute_rows,
    machine_facts,
)
from topout.report.page import Tile, render_page, unbroken

_SOURCES = {
    "blocking": "from the loops and block sizes",
    "cachegrind": "simulated",
    "counters": "counted by the hardware",
}


@dataclass(frozen=True, slots=True)
class Explained:
    """Why one version is as fast as it is, at the product of which its words were made."""

    name: str
    product: str
    unit: str
    row: GemmRow
    sentences: list[str]
    traffic: list[tuple[str, str, str]]  # level, bytes, where the figure comes from
    instructions: list[tuple[str, str]]
    events: list[tuple[str, str]]
    reasons: dict[str, str]


def gemm_page(report: GemmReport) -> str:
    """The result as a self-contained HTML document.

    Charts are interactive where scripts run and static pictures where they do not. Whatever the
    record says is shown as text, also where it looks like markup.
    """
    return render_page(
        "gemm.html.j2",
        report,
        report_title(report),
        gemm_charts(report),
        report=report,
        tiles=_tiles(report),
        findings=[unbroken(sentence) for sentence in report.findings],
        products=[
            (
                shape_title(shape),
                shape_facts(shape),
                f"G{rate_unit(shape)}/s",
                gemm_rows(shape),
                shape,
            )
            for shape in report.shapes
        ],
        explained=_explanations(report),
        machine_facts=machine_facts(report.machine),
        asked=_asked(report),
        ceiling_tables=_ceiling_tables(report),
    )


def _tiles(report: GemmReport) -> list[Tile]:
    """The best version where it has most to do: its rate, over naive, over the best rival."""
    shape = max(
        (each for each in report.shapes if each.threads == report.threads),
        key=lambda each: each.calls * each.flops,
        default=None,
    )
    rows = gemm_rows(shape) if shape is not None else []
    best = next((row for row in rows if row.is_best and not row.is_rival), None)
    if shape is None or best is None:
        return []
    tiles = [
        Tile(
            f"{best.name}, G{rate_unit(shape)}/s", best.rate, best.rate_spread, shape_title(shape)
        ),
        Tile("of the ceiling", best.of_ceiling, "", "measured in the same rounds"),
    ]
    if best.result.over_naive is not None:
        tiles.append(Tile("over naive", best.over_naive, best.over_naive_interval, ""))
    if best.result.over_best_rival is not None:
        rival = next(
            (
                row.name
                for row in sorted(rows, key=_rate, reverse=True)
                if row.is_rival and row.result.packed_ahead == best.result.packed_ahead
            ),
            "",
        )
        tiles.append(
            Tile(f"over {rival}", best.over_rival, best.over_rival_interval, "the best rival")
        )
    return tiles


def _rate(row: GemmRow) -> float:
    return row.result.flops_per_s.median if row.result.flops_per_s is not None else 0.0


def _explanations(report: GemmReport) -> list[Explained]:
    """Each version at each product on the most threads."""
    found = []
    for shape in report.shapes:
        if shape.threads != report.threads:
            continue
        for row in gemm_rows(shape):
            if row.result.explanation is not None:
                found.append(_explained(shape, row, row.result, row.result.explanation))
    return found


def _explained(
    shape: GemmShape, row: GemmRow, result: GemmResult, explanation: GemmExplanation
) -> Explained:
    return Explained(
        name=result.name,
        product=shape_title(shape),
        unit=f"G{rate_unit(shape)}/s",
        row=row,
        sentences=[unbroken(sentence) for sentence in explanation.sentences],
        traffic=[
            (each.level, units.si(each.bytes, "B"), _SOURCES[each.source])
            for each in explanation.traffic
        ],
        instructions=_instructions(explanation.instructions),
        events=[(name, units.count(count)) for name, count in explanation.events.items()],
        reasons=explanation.reasons,
    )


def _instructions(mix: InstructionMix | None) -> list[tuple[str, str]]:
    if mix is None:
        return []
    return [
        ("Instructions per multiply-add", units.significant(mix.per_multiply_add)),
        ("Multiply-adds in the loop", str(mix.multiply_adds)),
        ("Loads, stores, others", f"{mix.loads}, {mix.stores}, {mix.others}"),
        ("Vector width", f"{mix.vector_bits} bits"),
        ("Vectors kept on the stack", str(mix.stack_references)),
        ("Function", mix.function),
    ]


def _asked(report: GemmReport) -> list[tuple[str, str]]:
    facts = [
        ("Model", report.model or ""),
        ("Threads", ", ".join(str(count) for count in report.thread_counts)),
        ("Own source", report.source or ""),
        ("Compared", f"in {units.seconds(report.elapsed_s)}"),
    ]
    return [(name, value) for name, value in facts if value]


def _ceiling_tables(
    report: GemmReport,
) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    if report.ceilings is None:
        return []
    tables = [
        (
            "Arithmetic",
            ("Type", "Threads", "Reached with", "Best trial"),
            compute_rows(report.ceilings),
        ),
        (
            "Bandwidth (read)",
            ("Level", "Threads", "Pages", "Working set", "Best trial"),
            bandwidth_rows(report.ceilings),
        ),
    ]
    return [table for table in tables if table[2]]
