"""A training run as one HTML page that holds everything it shows and loads nothing."""

from topout import units
from topout.records import TrainCase, TrainReport
from topout.report.machine.facts import machine_facts
from topout.report.page import Tile, render_page, unbroken
from topout.report.train.charts import train_charts
from topout.report.train.rows import (
    COLLECTIVE_COLUMNS,
    case_facts,
    case_rows,
    collective_rows,
    rank_rows,
)
from topout.report.train.words import headlines, learning, ranks_name, subject_sentence


def train_page(report: TrainReport) -> str:
    """A training run as a self-contained HTML document.

    Whatever the record says is shown as text, also where it looks like markup.
    """
    return render_page(
        "train.html.j2",
        report,
        report.model.name,
        train_charts(report),
        report=report,
        subject=subject_sentence(report),
        headlines=[unbroken(sentence) for sentence in headlines(report)],
        findings=[unbroken(sentence) for sentence in report.findings],
        tiles=_tiles(report),
        rows=case_rows(report),
        ranks=rank_rows(report),
        on_gpu=report.workload.device == "cuda",
        cases=[
            (ranks_name(case.ranks), case, case_facts(case), collective_rows(case))
            for case in report.cases
        ],
        collective_columns=COLLECTIVE_COLUMNS,
        machine_facts=machine_facts(report.machine),
        workload=_workload(report),
    )


def _tiles(report: TrainReport) -> list[Tile]:
    done = [case for case in report.cases if case.status == "done"]
    if not done:
        return []
    case = done[-1]
    row = next(row for row in case_rows(report) if row.name == ranks_name(case.ranks))
    tiles = [
        Tile("samples/s", row.samples, row.step_spread, f"{row.tokens} tokens/s on {row.name}"),
        Tile("a step", row.step, "", f"{row.flops}, {row.mfu} of the ceiling"),
    ]
    if case.speedup is not None:
        detail = f"efficiency {row.efficiency}"
        tiles.append(Tile("speedup over one rank", row.speedup, row.speedup_interval, detail))
    memory = f"over {row.name}" if case.ranks > 1 else "of the process"
    return [
        *tiles,
        Tile("peak memory", row.memory, "", memory),
        Tile("loss", _last_loss(case), "", learning(case)),
    ]


def _last_loss(case: TrainCase) -> str:
    return units.significant(case.loss[-1]) if case.loss else units.ABSENT


def _workload(report: TrainReport) -> list[tuple[str, str]]:
    work, data, model = report.workload, report.data, report.model
    labels = ", ".join(data.labels[:8]) + (" …" if len(data.labels) > 8 else "")
    phases = f"{work.warmup_steps} of warm-up, {work.profiled_steps} profiled at the end"
    facts = [
        ("Model", f"{model.name} ({model.architecture}, {model.weights} weights)"),
        ("Trained parameters", units.count(model.parameters)),
        ("Task", "classify texts" if work.task == "classify" else "language model"),
        ("Data", data.description),
        ("Labels", labels),
        ("Samples drawn from", str(data.samples)),
        ("Padding", units.percent(data.padding_share, 1)),
        ("Texts cut at the end", str(data.cut_samples)),
        ("Rows left out", str(len(data.skipped_rows))),
        ("Sequence", f"{work.sequence_len} tokens"),
        ("Batch of a rank", str(work.batch_size)),
        ("Batches between updates", str(work.accumulation)),
        ("Steps", f"{work.steps}: {phases}"),
        ("Arithmetic", work.dtype),
        ("Optimizer", f"{work.optimizer}, learning rate {work.learning_rate:g}"),
        ("Device", work.device),
        ("Threads of a rank", str(work.threads_per_rank)),
        ("Seed", str(work.seed)),
        ("Run at", f"{report.created_at}, in {units.seconds(report.elapsed_s)}"),
    ]
    return [(name, value) for name, value in facts if value]
