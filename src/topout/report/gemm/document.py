"""A comparison of matrix products as a document: figures, charts, why each is as fast as it is."""

from collections.abc import Sequence
from dataclasses import replace

from topout import units
from topout.records import GemmExplanation, GemmReport, GemmShape, InstructionMix
from topout.report.document import (
    Absent,
    Bullets,
    Cell,
    Chart,
    Column,
    Document,
    Facts,
    Paragraph,
    Part,
    Row,
    Section,
    Style,
    Table,
    Tile,
    first_and_others,
)
from topout.report.figures import precision, terms
from topout.report.gemm.rows import (
    GemmRow,
    best_of,
    gemm_rows,
    rate_unit,
    report_title,
    shape_facts,
    shape_title,
)
from topout.report.machine.facts import machine_section

_STYLES: dict[str, Style] = {"measured": "", "failed": "failed", "skipped": "soft"}
_SOURCES = {
    "blocking": "from the loops and block sizes",
    "cachegrind": "simulated",
    "counters": "counted by the hardware",
}
_WITHOUT_BRACKETS = str.maketrans("", "", "[]")
_TERMS = {
    "MxNxK": "C = A · B, where A has M rows and K columns, B has K rows and N columns. In a linear "
    "layer M is the number of tokens, and B holds the weights. It takes 2·M·N·K FLOPs.",
    "Of the ceiling": "The rate over the arithmetic rate that independent multiply-adds reached on "
    "as many threads, measured between the rounds in which the version ran.",
    "Over the last, over naive, over the best rival": "Ratios of times from rounds in which both "
    "ran, the median of all rounds; below it stands the 95 % interval of the test that gives the "
    "verdict: faster or slower where it leaves out 1 and the figure is 5 % or more, no difference "
    "where all of it is within 5 % of 1, else not proven (?). A version that packs B ahead is "
    "compared with rivals that do so too.",
    "Parallel efficiency": "The rate, over the rate on one thread times the number of threads.",
    "Error, of its bound": "The largest error of any element that was checked against fp64, over "
    "what rounding can explain: γ_K·(|A||B|). Above 100 % a version is wrong, and is not timed. "
    "Sums of whole numbers must be exact.",
    "Packed ahead": "The weights do not change, so a library may lay them out once in the order in "
    "which it reads them. That time is not counted.",
    "Bytes that one product brings in": "Into a level of the memory hierarchy from the one below "
    "it. From loops and block sizes: what must move if each cache keeps what is used again "
    "soonest. Simulated: lines that missed in cachegrind's caches, on an AVX2 build and one "
    "thread.",
}


def gemm_document(report: GemmReport) -> Document:
    """The report of a comparison."""

    def charts() -> Sequence[Chart]:
        from topout.report.gemm.charts import gemm_charts

        return gemm_charts(report)

    main_chart, other_charts = first_and_others(charts)
    interrupted = "The comparison was interrupted; this is what was finished."
    return Document(
        record=report,
        title=report_title(report),
        about=_about(report),
        headlines=[*report.findings[:1], *([] if report.finished else [interrupted])],
        tiles=_tiles(report),
        lead=[main_chart, _products(report)],
        parts=[
            Section("More charts", [other_charts], key="charts", only="page"),
            Section(
                "Why each is as fast as it is",
                _explanations(report),
                key="why",
                only="page",
            ),
            machine_section(
                "Machine and ceilings",
                report.machine,
                Facts(_asked(report), "What was asked for"),
                ceilings=report.ceilings,
            ),
        ],
        findings=report.findings,
        doubts=report.doubts,
        absent=Absent(report.reasons | _reasons_of_all(report), "Not measured, or not as usual"),
        terms=[*_TERMS.items(), *terms("±")],
        data_note="All figures with every single sample, as JSON, are inside this page.",
    )


def _about(report: GemmReport) -> str:
    machine, origin = report.machine, report.dtype_origin
    text = f"on {machine.cpu_model}, {machine.usable_cpus} usable CPUs"
    dtypes = ", ".join(dict.fromkeys(shape.dtype for shape in report.shapes))
    return f"{text}; {precision(dtypes, origin)}" if origin and dtypes else text


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
    rate = f"{best.name}, G{rate_unit(shape)}/s"
    tiles = [
        Tile(rate, best.rate.value, best.rate.below, shape_title(shape)),
        Tile("of the ceiling", best.of_ceiling, detail="measured in the same rounds"),
    ]
    if best.result.over_naive is not None:
        tiles.append(Tile("over naive", best.over_naive.value, best.over_naive.below))
    if best.result.over_best_rival is not None:
        packed = best.result.packed_ahead
        rival = best_of([each for each in shape.rivals if each.packed_ahead == packed])
        name, over = rival.name if rival else "", best.over_rival
        tiles.append(Tile(f"over {name}", over.value, over.below, "the best rival"))
    return tiles


def _products(report: GemmReport) -> Section:
    note = (
        "At each product all versions and rivals were checked, and then all ran in turns, the "
        "ceilings of the machine measured in between."
    )
    parts: list[Part] = [Paragraph(note, "note", only="page")]
    parts += [
        Section(
            shape_title(shape),
            [_table(shape), Absent(shape.reasons, "Of these figures")],
            about=shape_facts(shape),
        )
        for shape in report.shapes
    ]
    if not report.shapes:
        parts.append(Paragraph("Nothing was compared."))
    return Section("All figures", parts, key="products")


def _table(shape: GemmShape) -> Table:
    columns = [
        Column("", text=True, only="terminal"),
        Column("Name", text=True, least=13),
        Column(f"G{rate_unit(shape)}/s", least=7),
        Column("Of the\nceiling", least=7),
        Column("Over\nthe last", least=9),
        Column("Over\nnaive", least=9),
        Column("Over best\nrival", least=9),
        Column("Effi-\nciency", only="terminal"),
        Column("Parallel\nefficiency", only="page"),
        Column("Error, of\nits bound", only="page"),
    ]
    rows: list[Row] = []
    for row in gemm_rows(shape):
        if row.is_rival and not any(each.kind == "heading" for each in rows):
            rows.append(Row(["Rivals"], kind="heading"))
        rows.append(_row(row))
    return Table(columns, rows)


def _row(row: GemmRow) -> Row:
    style: Style = "best" if row.is_best else _STYLES[row.result.status]
    packed = " (B packed ahead)" if row.result.packed_ahead else ""
    status = "" if row.measured else f": {row.result.status}"
    return Row(
        [
            Cell(row.mark, style=style),
            Cell(f"{row.mark} {row.name}{packed}{status}".strip(), style=style, short=row.name),
            replace(row.rate, style=style),
            row.of_ceiling,
            *map(_ratio, (row.over_previous, row.over_naive, row.over_rival)),
            row.efficiency,
            row.efficiency,
            row.error,
        ],
        style=_STYLES[row.result.status],
        note=row.result.reason or "",
    )


def _ratio(cell: Cell) -> Cell:
    """ "[1.02, 1.05]" → "1.02–1.05", so that three of them fit into a terminal."""
    return replace(cell, below=cell.below.translate(_WITHOUT_BRACKETS).replace(", ", "–"))


def _explanations(report: GemmReport) -> list[Section]:
    """Each version at each product on the most threads."""
    return [
        _explained(number, shape, row, row.result.explanation)
        for number, shape in enumerate(report.shapes)
        if shape.threads == report.threads
        for row in gemm_rows(shape)
        if row.result.explanation is not None
    ]


def _reasons_of_all(report: GemmReport) -> dict[str, str]:
    """What no explanation could have, such as hardware events, with the reason."""
    shapes = (shape.versions for shape in report.shapes)
    found = [each.explanation for versions in shapes for each in versions if each.explanation]
    if not found:
        return {}
    return dict(set.intersection(*(set(each.reasons.items()) for each in found)))


def _explained(number: int, shape: GemmShape, row: GemmRow, why: GemmExplanation) -> Section:
    traffic = Table(
        [Column("Into", text=True), Column("Bytes"), Column("Known", text=True)],
        [
            Row([each.level, units.si(each.bytes, "B"), _SOURCES[each.source]])
            for each in why.traffic
        ],
        "Bytes that one product brings in",
    )
    events = [(name, units.count(count)) for name, count in why.events.items()]
    rate = f"{row.rate.value} G{rate_unit(shape)}/s, {row.of_ceiling} of the ceiling"
    return Section(
        row.name,
        [
            Bullets(why.sentences),
            Section(
                "",
                [
                    traffic,
                    Facts(_instructions(why.instructions), "The innermost loop, disassembled"),
                    Facts(events, "Counted by the hardware, of one product"),
                ],
                key=f"figures-{number}-{row.name}",
                columns=True,
            ),
            Absent(why.reasons),
        ],
        key=f"why-{number}-{row.name}",
        about=f"{shape_title(shape)}: {rate}",
        card=True,
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
