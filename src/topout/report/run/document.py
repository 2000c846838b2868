"""A run as a document: the rates, the product put in PyTorch's place, phases, machine."""

from collections.abc import Sequence

from topout import units
from topout.records import Hardware, PhaseResult, Verification
from topout.records.climb import GemmSwap, RunReport, RunResult
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
    bound_of,
    figure,
    interval,
    rate_cell,
    rates_sentence,
    ratio_cell,
    ratio_tile,
    sample_rates,
    terms,
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
            *terms("Prefill and decode", "TTFT, TPOT", "MFU", "MBU", "Speedup and its interval"),
            *_OWN_TERMS.items(),
        ],
        data_note="All figures with every single run, as JSON, are inside this page.",
    )


def _headlines(report: RunReport) -> list[str]:
    gemm, own = report.gemm, report.result
    rates = (
        f"{figure(own.prefill.tokens_per_s.median)} tokens/s in prefill "
        f"(the first after {units.seconds(own.ttft_s.median)}), "
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
    elif gemm is not None and gemm.reason is not None:
        sentences.insert(0, f"{gemm.name} has no speed. {gemm.reason}")
    if report.model.weights == "random":
        sentences.append("The weights are random: the speed is real, the text is meaningless.")
    return sentences


def _rates(report: RunReport) -> Table:
    compared = len(report.results) > 1
    columns = [
        Column("Product", text=True, least=10),
        Column("Prefill\ntok/s"),
        Column("Decode\ntok/s"),
        *([Column("Prefill\nspeedup"), Column("Decode\nspeedup")] if compared else []),
        Column("TTFT"),
        Column("MFU\nMBU", below_width=_WIDE),
        Column("MFU\nprefill", from_width=_WIDE),
        Column("MBU\ndecode", from_width=_WIDE),
        Column("Peak\nmemory"),
    ]
    return Table(columns, [_rate_row(report, each, compared) for each in report.results])


def _rate_row(report: RunReport, result: RunResult, compared: bool) -> Row:
    prefill, decode = result.prefill, result.decode
    mfu, mbu = share_of(prefill.mfu_of_ceiling), share_of(decode.mbu_of_ceiling)
    gemm = report.gemm if result is not report.result else None
    ratios = (gemm.prefill_speedup, gemm.decode_speedup) if gemm else (None, None)
    return Row(
        [
            Cell(result.name, style="best"),
            rate_cell(prefill.tokens_per_s),
            rate_cell(decode.tokens_per_s),
            *(ratio_cell(ratio) if gemm else "" for ratio in (ratios if compared else ())),
            units.seconds(result.ttft_s.median),
            f"{mfu}\n{mbu}",
            mfu,
            mbu,
            units.memory(result.peak_memory_bytes),
        ]
    )


def _tiles(report: RunReport) -> list[Tile]:
    own, gemm = report.result, report.gemm
    prefill, decode = own.prefill, own.decode
    mfu, mbu = share_of(prefill.mfu_of_ceiling), share_of(decode.mbu_of_ceiling)
    if gemm is None or gemm.result is None:
        shown = [rate_cell(each.tokens_per_s) for each in (prefill, decode)]
        return [
            Tile("prefill, tokens/s", shown[0].value, shown[0].below, f"{mfu} of the arithmetic"),
            Tile("decode, tokens/s", shown[1].value, shown[1].below, f"{mbu} of the bandwidth"),
            Tile(
                "time to first token",
                units.seconds(own.ttft_s.median),
                detail=f"{report.workload.prompt_len} tokens of prompt",
            ),
            Tile(
                "peak memory",
                units.memory(own.peak_memory_bytes),
                detail=f"weights {units.memory(report.weight_bytes)}",
            ),
        ]
    theirs = gemm.result
    pairs = f"{len(theirs.samples)} pairs of runs in turns"
    return [
        ratio_tile("prefill", gemm.prefill_speedup, _rates_of(prefill, theirs.prefill)),
        ratio_tile("decode", gemm.decode_speedup, _rates_of(decode, theirs.decode)),
        ratio_tile("whole workload", gemm.speedup, pairs),
        _routed(gemm),
    ]


def _rates_of(before: PhaseResult, after: PhaseResult) -> str:
    return rates_sentence(before.tokens_per_s.median, after.tokens_per_s.median)


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
                Facts(_phase(result.prefill), "Prefill"),
                Facts(_phase(result.decode), "Decode, one token"),
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
        ("Reached", units.flops_per_s(phase.flops / phase.time_s.median)),
        ("Arithmetic ceiling", units.flops_per_s(phase.ceiling_flops_per_s)),
        ("MFU of it", share_of(phase.mfu_of_ceiling, 1)),
        ("Read", units.bytes_per_s(phase.bytes / phase.time_s.median)),
        ("Bandwidth ceiling", units.bytes_per_s(phase.ceiling_bytes_per_s)),
        ("MBU of it", share_of(phase.mbu_of_ceiling, 1)),
        ("Bound", bound_of(phase)),
    ]


def _samples(report: RunReport) -> Section:
    """Every timed run, in the order in which they ran."""
    runs = [(each.name, sample) for each in report.results for sample in each.samples]
    table = table_of(
        sorted(runs, key=lambda run: run[1].at_s),
        [
            (Column("Run of", text=True), lambda run: run[0]),
            ("Began at", lambda run: units.seconds(run[1].at_s)),
            ("TTFT", lambda run: units.seconds(run[1].ttft_s)),
            ("Prefill, tokens/s", lambda run: sample_rates(run[1], report.workload)[0]),
            ("Decode, tokens/s", lambda run: sample_rates(run[1], report.workload)[1]),
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
