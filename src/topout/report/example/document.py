"""A worked example as a document: the sum, the machines, the measured run."""

from collections.abc import Sequence

from topout import units
from topout.cost.example_report import counted_traffic, served_by
from topout.records import (
    Basis,
    Example,
    ExampleMachine,
    ExampleName,
    ExamplePrediction,
    ExampleReport,
    MeasuredExample,
)
from topout.report.document import (
    Absent,
    Bullets,
    Chart,
    Column,
    Document,
    Facts,
    Figures,
    Paragraph,
    Part,
    Row,
    Section,
    Table,
    Tile,
)
from topout.report.figures import spread
from topout.roofline import share_of

_BASIS_WORDS: dict[Basis, str] = {
    "measured": "measured",
    "published": "published",
    "datasheet": "datasheet",
    "derived": "half of fp32",
}
_ITEMS: dict[ExampleName, str] = {
    "axpy": "an element",
    "stencil": "a point",
    "matmul": "an element",
}
_TERMS = {
    "Arithmetic intensity": "FLOPs over the bytes that memory moves for them. It depends on what "
    "caches keep, and so on how the bytes are counted.",
    "Attainable": "The lower of two roofs at this intensity: bandwidth × intensity, and the "
    "arithmetic rate.",
    "Ridge point": "The intensity at which both roofs are equal: arithmetic rate over bandwidth. "
    "Work left of it is bound by memory, work right of it by arithmetic.",
    "Regions": "Memory-bound and compute-bound work reaches at least half of the roof above it. "
    "Poor work stands under half of both. Nothing can stay above a roof: such a point shows that "
    "its bytes came from a nearer level or were written beside what was read, or that the roof was "
    "measured in a slower moment.",
    "Measured, published, datasheet, half of fp32": "Where a rate comes from: reached on this very "
    "machine; reached by somebody who published it; promised by the maker; or, for the fp64 rate "
    "of a CPU, half of its fp32 rate, since a vector register holds half as many doubles.",
}


def example_document(report: ExampleReport) -> Document:
    """The report of a worked example, with a roofline for each machine."""
    example, measured = report.example, report.measured
    tables = example_tables(report)
    served = any("◂" in row.cell(0).value for table in tables for row in table.rows)

    def charts() -> Sequence[Chart]:
        from topout.report.example.charts import example_charts

        return example_charts(report)

    nobody = "" if report.findings else "No machine was asked about."
    return Document(
        record=report,
        title=example.title,
        about=f"{example.formula}; {example.size}",
        tiles=_tiles(report),
        lead=[
            Section("The sum", _sum(example), key="sum"),
            Paragraph(nobody),
            Figures(charts),
            Section(
                "Figures",
                [
                    *tables,
                    Paragraph(
                        "◂ the nearest level that holds the working set." if served else "", "note"
                    ),
                ],
                key="figures",
            ),
        ],
        parts=[
            Section(
                "The measured run",
                [Facts(measured_facts(measured))] if measured is not None else [],
                key="run",
            ),
        ],
        findings=report.findings,
        doubts=measured.doubts if measured is not None else (),
        absent=Absent({name: f"{why}." for name, why in report.reasons.items()}, "Absent"),
        terms=[*_TERMS.items()],
    )


def _sum(example: Example) -> list[Part]:
    traffic = [
        f"Bytes, {each.name}: {each.bytes_sum}. Intensity: {each.arithmetic_intensity:.4g} "
        "FLOP/byte."
        for each in example.traffic
    ]
    flops = f"FLOPs: {example.flops_sum}; {units.count(example.flops)}FLOP a pass."
    return [
        Paragraph(flops),
        *(Paragraph(each, only="page") for each in traffic),
        Bullets(example.notes),
    ]


def _tiles(report: ExampleReport) -> list[Tile]:
    traffic = counted_traffic(report.example)
    tiles = [
        Tile(
            "arithmetic intensity",
            units.significant(traffic.arithmetic_intensity),
            "FLOP/byte",
            traffic.name,
        )
    ]
    for machine in report.machines[:2]:
        served = served_by(report, machine)
        if served is not None:
            tiles.append(
                Tile(
                    f"at most on {machine.name}",
                    units.flops_per_s(served.attainable_flops_per_s),
                    f"{units.seconds(served.time_s)} a pass",
                    served.region,
                )
            )
    if report.measured is not None:
        trials = len(report.measured.samples_s)
        tiles.append(
            Tile(
                "measured here",
                units.flops_per_s(report.measured.flops_per_s.median),
                f"{units.seconds(report.measured.time_s.median)} a pass",
                f"median of {trials} trials",
            )
        )
    return tiles


def example_tables(report: ExampleReport) -> list[Table]:
    """The sum, each machine's roofs, the crossovers, and the measured run."""
    tables = [_sum_table(report.example)]
    for machine in report.machines:
        tables += [_levels_table(report.example, machine), _traffic_table(report.example, machine)]
        tables.append(_crossover_table(machine))
    tables.append(_placements_table(report))
    return [table for table in tables if table.rows]


def measured_facts(measured: MeasuredExample) -> list[tuple[str, str]]:
    """What was run, and what came of it."""
    return [
        ("Kernel", f"{measured.kernel}, {measured.threads} threads"),
        ("Working set", units.memory(measured.working_set_bytes)),
        (
            "Time of one pass",
            f"{units.seconds(measured.time_s.median)} {spread(measured.time_s)}, "
            f"{len(measured.samples_s)} trials",
        ),
        ("Rate", units.flops_per_s(measured.flops_per_s.median)),
        ("Largest error against numpy", f"{measured.largest_error:.1e}"),
        ("Read bandwidth in between", _range(measured.read_bytes_per_s, "B/s")),
        ("fp32 rate in between", _range(measured.fp32_flops_per_s, "FLOP/s")),
    ]


def peak_words(machine: ExampleMachine) -> str:
    """ "fp64 19.5 TFLOP/s (datasheet)", or why there is none."""
    if machine.flops_per_s is None or machine.flops_basis is None:
        return machine.reasons.get("flops_per_s", "no fp64 rate")
    basis = _BASIS_WORDS[machine.flops_basis]
    return f"fp64 {units.flops_per_s(machine.flops_per_s)} ({basis})"


def _range(samples: list[float], unit: str) -> str:
    if not samples:
        return units.ABSENT
    return f"{units.si(min(samples), unit)} to {units.si(max(samples), unit)}"


def _sum_table(example: Example) -> Table:
    rows = [
        [
            each.name,
            units.significant(each.bytes / example.flops * _flops_per_item(example)),
            units.significant(each.arithmetic_intensity),
            each.bytes_sum,
        ]
        for each in example.traffic
    ]
    return _table(
        "Arithmetic intensity",
        ["Counted with", f"Bytes {_ITEMS[example.name]}", "FLOP/byte", "Sum"],
        rows,
        (1, 2),
    )


def _flops_per_item(example: Example) -> float:
    return {"axpy": 2.0, "stencil": 7.0, "matmul": 2.0 * example.n}[example.name]


def _levels_table(example: Example, machine: ExampleMachine) -> Table:
    rows = [
        [
            f"{each.level} ◂" if each.level == machine.level else each.level,
            units.bytes_per_s(each.bytes_per_s),
            _BASIS_WORDS[each.basis],
            units.significant(each.ridge_point),
            *_allowed(each),
        ]
        for each in machine.predictions
        if each.traffic == example.counted
    ]
    return _table(
        f"{machine.name}: {peak_words(machine)}, counted with “{example.counted}”",
        ["Level", "Bandwidth", "from", "Ridge", "Attainable", "Time", "Region"],
        rows,
        (1, 3, 4, 5),
    )


def _traffic_table(example: Example, machine: ExampleMachine) -> Table:
    """The same for other ways to count the bytes, all from the level that holds the data."""
    intensities = {each.name: each.arithmetic_intensity for each in example.traffic}
    rows = [
        [each.traffic, units.significant(intensities[each.traffic]), *_allowed(each)]
        for each in machine.predictions
        if each.level == machine.level
    ]
    return _table(
        f"{machine.name}: bytes counted otherwise, all from {machine.level}",
        ["Counted with", "FLOP/byte", "Attainable", "Time", "Region"],
        rows if len(rows) > 1 else [],
        (1, 2, 3),
    )


def _allowed(prediction: ExamplePrediction) -> list[str]:
    return [
        units.flops_per_s(prediction.attainable_flops_per_s),
        units.seconds(prediction.time_s),
        prediction.region,
    ]


def _crossover_table(machine: ExampleMachine) -> Table:
    rows = [
        [
            each.dtype,
            units.si(each.flops_per_s, "OP/s" if each.dtype in ("int8", "int4") else "FLOP/s"),
            _BASIS_WORDS[each.basis],
            units.significant(each.ridge_point),
            f"{each.n_of_doubles:.0f}",
            f"{each.n_of_dtype:.0f}",
        ]
        for each in machine.crossovers
    ]
    return _table(
        f"{machine.name}: the n past which an n×n matmul is compute-bound",
        ["Type", "Rate", "from", "Ridge", "n/16\n(8-byte data)", "n, data of\nthe type"],
        rows,
        (1, 3, 4, 5),
    )


def _placements_table(report: ExampleReport) -> Table:
    rows = [
        [
            each.traffic,
            units.significant(each.arithmetic_intensity),
            units.bytes_per_s(each.bytes_per_s),
            units.bytes_per_s(each.ceiling_bytes_per_s),
            share_of(each.attained_share),
            each.region,
        ]
        for each in report.placements
    ]
    return _table(
        "Measured here, under the roofs of that moment (of reading)",
        ["Counted with", "FLOP/byte", "Moved", "Ceiling", "Share", "Region"],
        rows,
        (1, 2, 3, 4),
    )


def _table(
    title: str, titles: Sequence[str], rows: list[list[str]], figures: Sequence[int]
) -> Table:
    """Columns of figures by their numbers; the others are text."""
    columns = [Column(name, text=i not in figures) for i, name in enumerate(titles)]
    return Table(columns, [Row(row) for row in rows], title)
