"""A run as one HTML page that holds everything it shows and loads nothing."""

from topout import units
from topout.records import Hardware, PairedRatio
from topout.records.run import GemmSwap, RunReport
from topout.report.intervals import interval
from topout.report.machine.facts import machine_facts
from topout.report.page import Tile, render_page, unbroken
from topout.report.run.charts import results_of, run_charts
from topout.report.run.rows import (
    SAMPLE_COLUMNS,
    phase_rows,
    run_rows,
    sample_rows,
    verification_rows,
)
from topout.report.run.words import headlines, subject_sentence


def run_page(report: RunReport, hardware: Hardware | None = None) -> str:
    """A run as a self-contained HTML document; `hardware` has the roofs of its roofline.

    Whatever the record says is shown as text, also where it looks like markup.
    """
    gemm = report.gemm
    verification = gemm.verification if gemm is not None else None
    return render_page(
        "run.html.j2",
        report,
        report.model.name,
        run_charts(report, hardware),
        report=report,
        subject=subject_sentence(report),
        headlines=[unbroken(sentence) for sentence in headlines(report)],
        findings=[unbroken(sentence) for sentence in report.findings],
        tiles=_tiles(report),
        rows=run_rows(report),
        phases=[
            (
                result.name,
                [
                    ("Prefill", phase_rows(result.prefill)),
                    ("Decode, one token", phase_rows(result.decode)),
                ],
            )
            for result in results_of(report)
        ],
        gemm=gemm,
        counts=_counts(gemm),
        verification=verification_rows(verification) if verification is not None else [],
        machine_facts=machine_facts(report.machine),
        workload=_workload(report),
        sample_columns=SAMPLE_COLUMNS,
        samples=sample_rows(report),
    )


def _tiles(report: RunReport) -> list[Tile]:
    own, gemm = report.result, report.gemm
    row = run_rows(report)[0]
    plain = [
        Tile("prefill, tokens/s", row.prefill, row.prefill_spread, f"{row.mfu} of the arithmetic"),
        Tile("decode, tokens/s", row.decode, row.decode_spread, f"{row.mbu} of the bandwidth"),
        Tile("time to first token", row.ttft, "", f"{report.workload.prompt_len} tokens of prompt"),
        Tile("peak memory", row.memory, "", f"weights {units.memory(report.weight_bytes)}"),
    ]
    if gemm is None or gemm.result is None:
        return plain
    theirs = gemm.result
    rates = [
        (own.prefill.tokens_per_s, theirs.prefill.tokens_per_s),
        (own.decode.tokens_per_s, theirs.decode.tokens_per_s),
    ]
    prefill, decode = (
        f"{units.significant(before.median)} → {units.significant(after.median)} tokens/s"
        for before, after in rates
    )
    return [
        _ratio("prefill", gemm.prefill_speedup, prefill),
        _ratio("decode", gemm.decode_speedup, decode),
        _ratio("whole workload", gemm.speedup, f"{len(theirs.samples)} pairs of runs in turns"),
        _routed(gemm),
    ]


def _ratio(name: str, ratio: PairedRatio | None, detail: str) -> Tile:
    value = units.times(ratio.median if ratio is not None else None)
    return Tile(name, value, interval(ratio), detail)


def _routed(gemm: GemmSwap) -> Tile:
    counts = gemm.counts
    if counts is None:
        return Tile("products routed", units.ABSENT, "", "")
    total = counts.routed + sum(counts.passed.values())
    share = units.percent(counts.routed / total if total else None)
    return Tile("products routed", share, "", f"{counts.routed} of {total}")


def _counts(gemm: GemmSwap | None) -> list[tuple[str, str, str]]:
    """What became of the matrix products of one generation: (where, why, how many)."""
    if gemm is None or gemm.counts is None:
        return []
    counts = gemm.counts
    return [
        (f"through {gemm.name}", "", str(counts.routed)),
        *(("left to PyTorch", reason, str(n)) for reason, n in counts.passed.items()),
        *(("copied into rows first", what, str(n)) for what, n in counts.copied.items()),
    ]


def _workload(report: RunReport) -> list[tuple[str, str]]:
    work, model = report.workload, report.model
    return [
        ("Model", f"{model.name} ({model.architecture}, {model.weights} weights)"),
        ("Parameters", units.count(model.parameters)),
        ("Weights", units.memory(report.weight_bytes)),
        ("Shape", f"{model.layers} layers, {model.width} wide, {model.heads} heads"),
        ("Prompt", f"{work.prompt_len} tokens of {work.prompt_source or 'text'}"),
        ("New tokens", f"{work.new_tokens}, greedy"),
        ("Batch", str(work.batch_size)),
        ("Run by", f"{report.backend}, {work.dtype}"),
        ("Threads", str(work.threads)),
        ("Run at", f"{report.created_at}, in {units.seconds(report.elapsed_s)}"),
    ]
