"""A run as a document: the rates, the product put in PyTorch's place, phases, machine."""

from collections.abc import Callable, Sequence

from topout import units
from topout.records import (
    Hardware,
    PairedRatio,
    PhaseResult,
    RunSample,
    Verification,
    WorkloadSummary,
)
from topout.records.climb import GemmSwap, RunReport, RunResult, unit_of
from topout.report.document import (
    Absent,
    Cell,
    Chart,
    Column,
    Document,
    Facts,
    Paragraph,
    Part,
    Row,
    Section,
    Table,
    Tile,
    first_and_others,
    table_of,
)
from topout.report.figures import (
    Phase,
    bound_of,
    figure,
    interval,
    meaningless,
    phase_name,
    phase_terms,
    phases_of,
    rate_cell,
    rate_head,
    rates_sentence,
    ratio_cell,
    ratio_tile,
    sample_rates,
    terms,
    time_name,
)
from topout.report.machine.facts import machine_section, workload_facts, workload_sentence
from topout.roofline import share_of

_WIDE = 90  # characters that MFU and MBU need beside each other
_OWN_TERMS = {
    "Routed, left to PyTorch, copied": "Products of two matrices of the version's type on the CPU "
    "are routed. Others are PyTorch's own; fused attention calls none. A version reads its "
    "matrices by rows: one that lies otherwise is copied first, and the weights once for all.",
    "Is the output still right?": "The same text, position by position: every logit within what "
    "rounding explains, and the same token wherever the model is decided. Only then is anything "
    "timed.",
}


def run_document(report: RunReport, hardware: Hardware | None = None) -> Document:
    """The report of a run; `hardware` has the roofs of its roofline."""

    def charts() -> Sequence[Chart]:
        from topout.report.run.charts import run_charts

        return run_charts(report, hardware)

    main_chart, other_charts = first_and_others(charts)
    work, cpu = report.workload, report.machine.cpu_model
    on = f"on {units.counted(work.threads, 'thread')}"
    return Document(
        record=report,
        title=report.model.name,
        about=f"{workload_sentence(report.model, work, report.backend, on)}; {cpu}",
        headlines=_headlines(report),
        tiles=_tiles(report),
        lead=[main_chart, Section("The rates", [_rates(report)], key="rates")],
        parts=[
            *_swap(report.gemm),
            other_charts,
            _phases(report),
            _machine(report),
        ],
        findings=report.findings,
        doubts=report.doubts,
        absent=Absent(report.reasons),
        terms=[
            *terms(*phase_terms(report.workload), "MFU", "MBU", "Speedup and its interval"),
            *_OWN_TERMS.items(),
        ],
        data_note="All figures with every single run, as JSON, are inside this page.",
    )


def _headlines(report: RunReport) -> list[str]:
    gemm, own = report.gemm, report.result
    first = figure(own.prefill.tokens_per_s.median)
    if own.decode is None:
        unit = unit_of(report.workload)
        rates = f"{first} {unit}, a pass in {units.seconds(own.ttft_s.median)}"
    else:
        rates = (
            f"{first} tokens/s in prefill (the first after {units.seconds(own.ttft_s.median)}), "
            f"{figure(own.decode.tokens_per_s.median)} tokens/s in decode"
        )
    sentences = [f"{report.model.name} runs at {rates}."]
    if gemm is not None and gemm.prefill_speedup is not None and gemm.decode_speedup is not None:
        sentences = [
            f"With {gemm.name} in PyTorch's place prefill runs at "
            f"{units.times(gemm.prefill_speedup.median)} the speed "
            f"{interval(gemm.prefill_speedup)}, decode at {ratio_cell(gemm.decode_speedup).line}.",
            f"PyTorch's own: {rates}.",
        ]
    elif gemm is not None and gemm.prefill_speedup is not None:
        ratio = ratio_cell(gemm.prefill_speedup).line
        sentences = [
            f"With {gemm.name} in PyTorch's place a pass runs at {ratio} the speed.",
            f"PyTorch's own: {rates}.",
        ]
    elif gemm is not None and gemm.reason is not None:
        sentences.insert(0, f"{gemm.name} has no speed. {gemm.reason}")
    if report.model.weights == "random":
        sentences.append(
            f"The weights are random: the speed is real, {meaningless(report.workload)}."
        )
    return sentences


def _rates(report: RunReport) -> Table:
    compared = len(report.results) > 1
    work = report.workload
    phases = phases_of(work)
    columns = [
        Column("Product", text=True, least=10),
        *(Column(rate_head(work, each)) for each in phases),
        *(
            Column(f"{phase_name(work, each).capitalize()}\nspeedup")
            for each in (phases if compared else ())
        ),
        Column(time_name(work)),
        Column("MFU\nMBU", below_width=_WIDE),
        Column(f"MFU\n{phase_name(work, phases[0])}", from_width=_WIDE),
        Column(f"MBU\n{phase_name(work, phases[-1])}", from_width=_WIDE),
        Column("Peak\nmemory"),
    ]
    return Table(columns, [_rate_row(report, each, compared) for each in report.results])


def _rate_row(report: RunReport, result: RunResult, compared: bool) -> Row:
    measured = [each for _, each in result.phases]
    mfu, mbu = share_of(measured[0].mfu_of_ceiling), share_of(measured[-1].mbu_of_ceiling)
    gemm = report.gemm if result is not report.result else None
    ratios = [gemm.prefill_speedup, gemm.decode_speedup] if gemm else [None, None]
    return Row(
        [
            Cell(result.name, style="best"),
            *(rate_cell(each.tokens_per_s) for each in measured),
            *(
                ratio_cell(ratio) if gemm else ""
                for ratio in (ratios[: len(measured)] if compared else ())
            ),
            units.seconds(result.ttft_s.median),
            f"{mfu}\n{mbu}",
            mfu,
            mbu,
            units.memory(result.peak_memory_bytes),
        ]
    )


def _tiles(report: RunReport) -> list[Tile]:
    own, gemm, work = report.result, report.gemm, report.workload
    prefill, decode = own.prefill, own.decode
    if gemm is None or gemm.result is None:
        runs_once = decode is None
        prompt = f"{work.prompt_len} tokens of prompt"
        return [
            _rate_tile(report, "prefill", prefill, prefill.mfu_of_ceiling, "arithmetic"),
            *(
                [_rate_tile(report, "decode", decode, decode.mbu_of_ceiling, "bandwidth")]
                if decode is not None
                else []
            ),
            Tile(
                "time of a pass" if runs_once else "time to first token",
                units.seconds(own.ttft_s.median),
                detail=f"batch {work.batch_size}" if runs_once else prompt,
            ),
            Tile(
                "peak memory",
                units.memory(own.peak_memory_bytes),
                detail=f"weights {units.memory(report.weight_bytes)}",
            ),
        ]
    theirs = gemm.result
    pairs = f"{len(theirs.samples)} pairs of runs in turns"
    found: list[tuple[Phase, PairedRatio | None, PhaseResult, PhaseResult]] = [
        ("prefill", gemm.prefill_speedup, prefill, theirs.prefill)
    ]
    if decode is not None and theirs.decode is not None:
        found.append(("decode", gemm.decode_speedup, decode, theirs.decode))
    return [
        *(
            ratio_tile(phase_name(work, phase), ratio, _rates_of(before, after, work))
            for phase, ratio, before, after in found
        ),
        *([ratio_tile("whole workload", gemm.speedup, pairs)] if decode is not None else []),
        _routed(gemm),
    ]


def _rate_tile(
    report: RunReport, phase: Phase, result: PhaseResult, share: float | None, what: str
) -> Tile:
    work, shown = report.workload, rate_cell(result.tokens_per_s)
    name = f"{phase_name(work, phase)}, {unit_of(work)}"
    return Tile(name, shown.value, shown.below, f"{share_of(share)} of the {what}")


def _rates_of(before: PhaseResult, after: PhaseResult, work: WorkloadSummary) -> str:
    return rates_sentence(before.tokens_per_s.median, after.tokens_per_s.median, work)


def _routed(gemm: GemmSwap) -> Tile:
    counts = gemm.counts
    if counts is None:
        return Tile("products routed", units.ABSENT)
    total = counts.routed + sum(counts.passed.values())
    share = units.percent(counts.routed / total if total else None)
    return Tile("products routed", share, detail=f"{counts.routed} of {total}")


def _swap(gemm: GemmSwap | None) -> list[Section]:
    """What was put in PyTorch's place: the products it was given, and whether it was right."""
    if gemm is None:
        return []
    parts: list[Part] = [
        Paragraph(f"Compiled from {gemm.source}." if gemm.source else "", "note", only="page"),
        Paragraph(gemm.reason or "", "failed", only="page"),
        _counts(gemm),
    ]
    check = gemm.verification
    if check is not None:
        parts.append(Facts(_verification(check), "Is the output still right?"))
        parts.append(Paragraph(f"{check.reason}; {check.method}.", "note", only="page"))
    return [Section(f"{gemm.name} in PyTorch's place", parts, key="gemm")]


def _counts(gemm: GemmSwap) -> Table:
    """What became of the matrix products of one generation."""
    counts = gemm.counts
    columns = [Column("Products", text=True), Column("Reason", text=True), Column("Number")]
    if counts is None:
        return Table(columns, [])
    rows = [
        (f"through {gemm.name}", "", counts.routed),
        *(("left to PyTorch", reason, n) for reason, n in counts.passed.items()),
        *(("copied into rows first", what, n) for what, n in counts.copied.items()),
    ]
    return Table(
        columns,
        [Row([where, why, str(n)]) for where, why, n in rows],
        note=f"The matrix products of one generation of {counts.new_tokens} tokens.",
        only="page",
    )


def _verification(check: Verification) -> list[tuple[str, str]]:
    error, noise = check.max_logit_error, check.rounding_noise
    return [
        ("Verdict", "right" if check.passed else "not right"),
        ("Largest difference of a logit", units.ABSENT if error is None else f"{error:.2g}"),
        ("Rounding noise of the model", units.ABSENT if noise is None else f"{noise:.2g}"),
        ("Same token where it is decided", units.percent(check.token_agreement, 2)),
        ("Decided positions", f"{check.decided_positions or 0} of {check.positions}"),
        ("Tokens generated alike", str(check.generated_tokens_compared or units.ABSENT)),
    ]


def _phases(report: RunReport) -> Section:
    cards = [
        Section(
            result.name,
            [
                Facts(_phase(result.prefill), "Prefill" if result.decode else "One pass"),
                *([Facts(_phase(result.decode), "Decode, one token")] if result.decode else []),
            ],
            card=True,
            columns=True,
        )
        for result in report.results
    ]
    return Section("Phase by phase", [*cards, _samples(report)], key="phases", only="page")


def _phase(phase: PhaseResult) -> list[tuple[str, str]]:
    return [
        ("Time", units.seconds(phase.time_s.median)),
        ("Work", units.si(phase.flops, "FLOP")),
        ("Bytes at the least", units.si(phase.bytes, "B")),
        ("Arithmetic intensity", f"{units.significant(phase.arithmetic_intensity)} FLOP/byte"),
        ("Reached", units.flops_per_s(units.rate(phase.flops, phase.time_s.median))),
        ("Arithmetic ceiling", units.flops_per_s(phase.ceiling_flops_per_s)),
        ("MFU of it", share_of(phase.mfu_of_ceiling, 1)),
        ("Read", units.bytes_per_s(units.rate(phase.bytes, phase.time_s.median))),
        ("Bandwidth ceiling", units.bytes_per_s(phase.ceiling_bytes_per_s)),
        ("MBU of it", share_of(phase.mbu_of_ceiling, 1)),
        ("Bound", bound_of(phase)),
    ]


def _samples(report: RunReport) -> Section:
    """Every timed run, in the order in which they ran."""
    runs = [(each.name, sample) for each in report.results for sample in each.samples]
    work = report.workload
    names = [phase_name(work, each).capitalize() for each in phases_of(work)]

    def rate_of(place: int) -> Callable[[tuple[str, RunSample]], str]:
        return lambda run: sample_rates(run[1], work)[place]

    table = table_of(
        sorted(runs, key=lambda run: run[1].at_s),
        [
            (Column("Run of", text=True), lambda run: run[0]),
            ("Began at", lambda run: units.seconds(run[1].at_s)),
            (time_name(work), lambda run: units.seconds(run[1].ttft_s)),
            *((f"{name}, {unit_of(work)}", rate_of(place)) for place, name in enumerate(names)),
            ("Peak", lambda run: units.memory(run[1].peak_memory_bytes)),
        ],
    )
    return Section(f"{len(runs)} timed runs", [table], folded=True)


def _machine(report: RunReport) -> Section:
    work = report.workload
    facts = workload_facts(
        report.model,
        work,
        ("Run by", report.backend),
        ("Threads", str(work.threads)),
        ("Run at", f"{report.created_at}, in {units.seconds(report.elapsed_s)}"),
        source=work.prompt_source or "text",
        weight_bytes=report.weight_bytes,
    )
    return machine_section("Machine and workload", report.machine, facts)
