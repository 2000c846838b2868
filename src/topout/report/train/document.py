"""A training run as a document: its cases, the parts of a step, charts, what was trained."""

from collections.abc import Sequence
from dataclasses import replace

from topout import units
from topout.records import Estimate, RankTime, TrainCase, TrainReport
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
    Table,
    Tile,
    first_and_others,
    table_of,
)
from topout.report.figures import interval, precision, rank_name, spread
from topout.report.machine.facts import machine_section
from topout.roofline import share_of

_MOST_SKIPPED = 50  # rows of data that were left out, on the page
_WIDE = 100  # characters that columns of their own need
_TASKS = {"classify": "a text classifier", "lm": "a language model"}
_TERMS = {
    "Rank": "A process with a copy of the model and a batch of its own. After backward the "
    "gradients of all ranks are averaged, so that every copy takes the same step.",
    "A step": "All that lies between two updates of the weights: the next samples, forward, "
    "backward, the optimizer. Steps of warm-up are left out, and so are profiled ones, which the "
    "profiler slows down. Of several ranks the slowest one counts.",
    "The sum over the ranks": "Gradients are summed while backward still computes those of earlier "
    "layers. What is seen of it is backward with the sum less backward without it, on the same "
    "samples, one after the other; it contains waiting for a rank that is late.",
    "Speedup and efficiency": "Samples per second over those of one rank; each rank keeps its "
    "batch and its threads. Divided by the ranks it is the parallel efficiency. There is none "
    "where a sample is not the same work in both.",
    "FLOP/s and the ceiling": "The FLOPs that the model needs for a sample, forward, backward and "
    "its share of the update, counted from its shape; the ceiling is the arithmetic rate that this "
    "machine was measured to reach.",
    "CPUs used": "Processor time over time × threads. The rest is waiting.",
}


def train_document(report: TrainReport, folder: str = "") -> Document:
    """The report of a training run; `folder` is the run's, for commands that can be copied."""

    def charts() -> Sequence[Chart]:
        from topout.report.train.charts import train_charts

        return train_charts(report)

    main_chart, other_charts = first_and_others(charts)
    cases = [_case(case) for case in report.cases]
    return Document(
        record=report,
        title=report.model.name,
        about=f"{_subject(report)}; {report.data.description}; {report.machine.cpu_model}",
        headlines=_headlines(report),
        tiles=_tiles(report),
        lead=[
            main_chart,
            Section("The cases", [_cases(report), _ranks(report)], key="rates"),
        ],
        parts=[
            other_charts,
            Section("Case by case", cases, key="cases", only="page"),
            _traces(report, folder),
            _machine(report),
        ],
        findings=report.findings,
        doubts=report.doubts,
        absent=Absent(report.reasons),
        terms=[*_TERMS.items()],
        data_note="All figures with every single step, as JSON, are inside this page.",
    )


def _subject(report: TrainReport) -> str:
    model, work = report.model, report.workload
    parameters = f"{units.parameters(model.parameters)} parameters, " if model.parameters else ""
    accumulated = f" × {work.accumulation} accumulated" if work.accumulation > 1 else ""
    threads = f"{units.counted(work.threads_per_rank, 'thread')} a rank"
    return (
        f"{parameters}{model.weights} weights, as {_TASKS[work.task]}, "
        f"{precision(work.dtype, work.dtype_origin)}, "
        f"{work.optimizer}, on {work.device} with {threads}; batch {work.batch_size}{accumulated} "
        f"of {work.sequence_len} tokens on each rank, {work.steps} steps"
    )


def _headlines(report: TrainReport) -> list[str]:
    done = [case for case in report.cases if case.status == "done"]
    sentences = [_rate(report, case) for case in done[-1:]]
    sentences += [_speedup(case) for case in done if case.speedup is not None]
    sentences += [
        f"{units.counted(case.ranks, 'rank')}: {case.status}. {case.reason}"
        for case in report.cases
        if case.status != "done"
    ]
    return sentences or ["Nothing was measured."]


def _rate(report: TrainReport, case: TrainCase) -> str:
    step = units.seconds(case.step_s.median if case.step_s else None)
    return (
        f"{report.model.name} trains on {units.counted(case.ranks, 'rank')} at "
        f"{_figure(case.samples_per_s)} samples/s, {step} a step."
    )


def _speedup(case: TrainCase) -> str:
    return (
        f"{units.counted(case.ranks, 'rank')} are "
        f"{units.times(case.speedup.median if case.speedup else None)} as fast as one "
        f"{interval(case.speedup)}, an efficiency of {units.percent(case.parallel_efficiency)}."
    )


def _learning(case: TrainCase) -> str:
    """The loss at the first and the last step: "1.39 → 0.412"."""
    if not case.loss:
        return units.ABSENT
    return f"{units.significant(case.loss[0])} → {units.significant(case.loss[-1])}"


def _figure(figure: Estimate | None) -> str:
    return units.ABSENT if figure is None else units.significant(figure.median)


def _tiles(report: TrainReport) -> list[Tile]:
    done = [case for case in report.cases if case.status == "done"]
    if not done:
        return []
    case = done[-1]
    name, step = units.counted(case.ranks, "rank"), spread(case.step_s)
    rate = f"{_figure(case.tokens_per_s)} tokens/s on {name}"
    mfu = share_of(case.mfu_of_ceiling)
    work = f"{units.flops_per_s(case.flops_per_s)}, {mfu} of the ceiling"
    tiles = [
        Tile("samples/s", _figure(case.samples_per_s), step, rate),
        Tile("a step", units.seconds(case.step_s.median if case.step_s else None), "", work),
    ]
    if case.speedup is not None:
        detail = f"efficiency {units.percent(case.parallel_efficiency)}"
        value = units.times(case.speedup.median)
        tiles.append(Tile("speedup over one rank", value, interval(case.speedup), detail))
    memory = f"over {name}" if case.ranks > 1 else "of the process"
    loss = units.significant(case.loss[-1]) if case.loss else units.ABSENT
    return [
        *tiles,
        Tile("peak memory", units.memory(case.peak_memory_bytes), "", memory),
        Tile("loss", loss, "", _learning(case)),
    ]


def _cases(report: TrainReport) -> Table:
    compared = len(report.cases) > 1
    columns = [
        Column("Ranks", text=True),
        Column("A step"),
        Column("Samples\n/s"),
        Column("Tokens\n/s"),
        Column("FLOP/s\nof ceiling", below_width=_WIDE),
        Column("FLOP/s", from_width=_WIDE),
        Column("Of the\nceiling", from_width=_WIDE),
        *([Column("Speedup\neffic.", below_width=_WIDE)] if compared else []),
        *([Column("Speedup", from_width=_WIDE)] if compared else []),
        *([Column("Efficiency", from_width=_WIDE)] if compared else []),
        Column("Loss"),
        Column("Peak\nmemory"),
    ]
    return Table(columns, [_case_row(case, compared) for case in report.cases])


def _case_row(case: TrainCase, compared: bool) -> Row:
    name = Cell(units.counted(case.ranks, "rank"), style="best")
    if case.status != "done":
        return Row([name], style="failed", note=f"{case.status}: {case.reason}")
    flops, mfu = units.flops_per_s(case.flops_per_s), share_of(case.mfu_of_ceiling)
    speedup = units.times(case.speedup.median if case.speedup else None)
    efficiency = units.percent(case.parallel_efficiency)
    ratios = (Cell(speedup, efficiency), Cell(speedup, interval(case.speedup)), efficiency)
    return Row(
        [
            name,
            Cell(units.seconds(case.step_s.median if case.step_s else None), spread(case.step_s)),
            _figure(case.samples_per_s),
            _figure(case.tokens_per_s),
            Cell(flops, mfu),
            flops,
            mfu,
            *(ratios if compared else ()),
            _learning(case).replace(" → ", " →\n"),
            units.memory(case.peak_memory_bytes),
        ]
    )


def _ranks(report: TrainReport) -> Table:
    """The mean step of every rank of every case that is done."""
    on_gpu = report.workload.device == "cuda"
    table = table_of(
        [(case, time) for case in report.cases for time in case.times],
        [
            (
                Column("Rank", text=True, least=7),
                lambda each: Cell(rank_name(each[0], each[1]), style="best"),
            ),
            (Column("A step", only="page"), lambda each: units.seconds(each[1].step_s)),
            ("Data", lambda each: units.seconds(each[1].data_s)),
            ("Forward", lambda each: units.seconds(each[1].forward_s)),
            ("Backward", lambda each: units.seconds(each[1].backward_s)),
            ("of it\nthe sum", lambda each: units.seconds(each[1].exposed_communication_s)),
            ("Optimizer", lambda each: units.seconds(each[1].optimizer_s)),
            (Column("Other", only="page"), lambda each: units.seconds(each[1].other_s)),
            ("GPU\nused" if on_gpu else "CPUs\nused", lambda each: _used(each[1])),
            (
                Column("Peak\nmemory", only="page"),
                lambda each: units.memory(each[1].peak_memory_bytes),
            ),
            (
                Column("Peak\non GPU", only="page"),
                lambda each: units.memory(each[1].peak_device_bytes),
            ),
        ],
        "A step of each rank, mean",
    )
    return table if on_gpu else replace(table, columns=table.columns[:-1])


def _used(time: RankTime) -> str:
    return units.percent(time.device_utilization or time.processor_utilization)


def _case(case: TrainCase) -> Section:
    """What else is known of a case."""
    done = case.status == "done"
    where = "below the run's folder"
    parts: list[Part] = [
        Facts(_case_facts(case) if done else []),
        Paragraph("" if done else f"{case.status}: {case.reason}", "failed"),
        Paragraph(f"Log: {case.log}, {where}." if case.log and not done else "", "note"),
        _collectives(case),
        Paragraph(
            f"Traces: {case.trace_folder}, {where}; topout trace reads the folder."
            if case.trace_folder
            else "",
            "note",
        ),
        Absent(case.reasons),
    ]
    return Section(units.counted(case.ranks, "rank"), parts, key=f"case-{case.ranks}", card=True)


def _case_facts(case: TrainCase) -> list[tuple[str, str]]:
    agree = {True: "yes, bit by bit", False: "no", None: units.ABSENT}[case.weights_agree]
    return [
        ("Timed steps together", units.seconds(case.wall_s)),
        ("A batch", units.seconds(case.time_per_batch_s.median if case.time_per_batch_s else None)),
        ("FLOPs of a sample", units.si(case.flops_per_sample, "FLOP")),
        ("Share of the arithmetic ceiling", share_of(case.mfu_of_ceiling, 1)),
        ("Loss", _learning(case)),
        ("Backend", case.backend or "none"),
        ("Ranks ended with the same weights", agree),
        ("Gradients of a step", units.si(case.gradient_bytes, "B")),
        ("Of these in the traces", units.si(case.collective_bytes_per_step, "B")),
        ("Peak memory, all ranks", units.memory(case.peak_memory_bytes)),
        *_memory_facts(case),
    ]


def _memory_facts(case: TrainCase) -> list[tuple[str, str]]:
    """What the cost model gives a rank, and what the fullest rank used for the same."""
    predicted = case.predicted_memory
    if predicted is None:
        return []
    parts = {
        "weights": predicted.weights_bytes,
        "gradients": predicted.gradients_bytes,
        "optimizer": predicted.optimizer_bytes,
        "activations": predicted.activations_bytes,
        "errors": predicted.errors_bytes,
    }
    listed = ", ".join(f"{name} {units.memory(size)}" for name, size in parts.items())
    used = [size for time in case.times if (size := _used_bytes(time)) is not None]
    return [
        ("Predicted for a rank", f"{units.memory(predicted.total_bytes)}: {listed}"),
        ("Measured beside it", units.memory(max(used, default=None))),
    ]


def _used_bytes(time: RankTime) -> int | None:
    """On a GPU all that was allocated there; of a process what it has beside its programs."""
    if time.peak_device_bytes is not None:
        return time.peak_device_bytes
    if time.memory_before_bytes is None or time.unprofiled_peak_bytes is None:
        return None
    return time.unprofiled_peak_bytes - time.memory_before_bytes


def _collectives(case: TrainCase) -> Table:
    """The collectives of the profiled steps, as the traces hold them."""
    return table_of(
        case.communication.collectives if case.communication is not None else [],
        [
            (Column("Collective", text=True), lambda each: each.name),
            ("Calls", lambda each: str(each.calls)),
            ("Bytes", lambda each: units.si(each.bytes, "B")),
            ("Sent", lambda each: units.si(each.sent_bytes, "B")),
            ("Time", lambda each: units.seconds(each.total_s)),
            ("Transfer", lambda each: units.seconds(each.transfer_s)),
            ("Waiting", lambda each: units.seconds(each.waiting_s)),
        ],
        "Collectives of the profiled steps",
    )


def _traces(report: TrainReport, folder: str) -> Section:
    """The commands that look into the profiled steps, whole, so that they can be copied."""
    folders = [case.trace_folder for case in report.cases if case.trace_folder is not None]
    commands = [Paragraph(f"topout trace {folder}/{each}") for each in folders if folder]
    return Section("Traces of the profiled steps", commands, only="terminal")


def _machine(report: TrainReport) -> Section:
    work, data, model = report.workload, report.data, report.model
    labels = ", ".join(data.labels[:8]) + (" …" if len(data.labels) > 8 else "")
    phases = f"{work.warmup_steps} of warm-up, {work.profiled_steps} profiled at the end"
    facts = [
        ("Model", f"{model.name} ({model.architecture}, {model.weights} weights)"),
        ("Trained parameters", units.parameters(model.parameters)),
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
        ("Arithmetic", precision(work.dtype, work.dtype_origin)),
        ("Optimizer", f"{work.optimizer}, learning rate {work.learning_rate:g}"),
        ("Device", work.device),
        ("Threads of a rank", str(work.threads_per_rank)),
        ("Seed", str(work.seed)),
        ("Run at", f"{report.created_at}, in {units.seconds(report.elapsed_s)}"),
    ]
    return machine_section(
        "Machine and workload",
        report.machine,
        Facts([(name, value) for name, value in facts if value], "What was trained"),
        Bullets(data.skipped_rows[:_MOST_SKIPPED], "Rows that were left out"),
    )
