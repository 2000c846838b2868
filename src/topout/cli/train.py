"""`topout train`."""

import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from topout.cli.outputs import (
    DeviceOption,
    JsonOption,
    ReportOption,
    check_outputs,
    save_page,
    write_json,
)


def train(
    model: Annotated[
        str | None, typer.Argument(help="A name, a folder or a hub id; default: the bundled one.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON Lines, CSV, TSV, Parquet with a text column, or plain text."
        ),
    ] = None,
    generated: Annotated[
        bool, typer.Option("--generated", help="Data made from --seed, that can be learned.")
    ] = False,
    task: Annotated[
        str | None,
        typer.Option(help="classify or lm; default: classify for encoders, lm for decoders."),
    ] = None,
    ranks: Annotated[
        str, typer.Option(metavar="N,N…", help="Processes, one after the other: 1,2 compares.")
    ] = "1",
    steps: Annotated[int | None, typer.Option(help="Updates of the weights; default: 20.")] = None,
    batch_size: Annotated[int, typer.Option(help="Samples of a rank at a time.")] = 8,
    accumulate: Annotated[int, typer.Option(help="Batches of a rank between two updates.")] = 1,
    sequence_len: Annotated[
        int | None, typer.Option(help="Tokens of every sample; default: 128.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="fp32, or bf16 (autocast).")] = "fp32",
    learning_rate: Annotated[float, typer.Option(help="Of AdamW, constant.")] = 5e-5,
    weight_decay: Annotated[float, typer.Option(help="Of AdamW.")] = 0.01,
    seed: Annotated[int, typer.Option(help="Of the order, dropout, heads and made data.")] = 0,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads of each rank; default: all, shared out.")
    ] = None,
    device: DeviceOption = "cpu",
    random_weights: Annotated[
        bool, typer.Option(help="Make the weights of a known model from --seed.")
    ] = False,
    text_column: Annotated[str, typer.Option(help="Column of the texts.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column of the labels.")] = "label",
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Leave out rows that cannot be used.")
    ] = False,
    warmup_steps: Annotated[
        int | None, typer.Option(help="Steps before any is timed; default: 3.")
    ] = None,
    profile_steps: Annotated[
        int | None, typer.Option(help="Steps at the end that traces hold; default: 3.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Eight steps.")] = False,
    report: ReportOption = None,
    json: JsonOption = None,
) -> None:
    """How does a training step spend its time, alone and over devices?"""
    from topout.models.known import DEFAULT_MODEL
    from topout.train.request import TrainRequest, parse_ranks

    request = TrainRequest(
        model=model or DEFAULT_MODEL,
        data=data,
        generated=generated,
        task=cast(Any, task),  # checked by the request, as are data type and device
        text_column=text_column,
        label_column=label_column,
        skip_bad_rows=skip_bad_rows,
        ranks=parse_ranks(ranks),
        steps=steps,
        batch_size=batch_size,
        accumulation=accumulate,
        sequence_len=sequence_len,
        dtype=cast(Any, dtype),
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        seed=seed,
        threads=threads,
        device=cast(Any, device),
        random_weights=random_weights,
        warmup_steps=warmup_steps,
        profiled_steps=profile_steps,
        quick=quick,
    )
    check_outputs(json, report)
    _train(request, report, json)


def _train(request: Any, report: Path | None, json: str | None) -> None:
    from topout.progress import progress_bar
    from topout.run_folder import Interrupted
    from topout.verbs.train_model import train_model

    try:
        with progress_bar() as notify:
            record, folder = train_model(request, notify=notify)
    except Interrupted as interrupted:
        print("topout: interrupted; every rank has ended", file=sys.stderr)  # noqa: T201
        _show(interrupted.record, interrupted.folder, report, json)
        raise typer.Exit(130) from None
    _show(record, folder, report, json)
    failed = next((case for case in record.cases if case.status == "failed"), None)
    if failed is not None:
        _show_failure(failed, folder)
        raise typer.Exit(1)


def _show(record: Any, folder: Any, report: Path | None, json: str | None) -> None:
    """The table, the JSON and the page."""
    if json != "-":
        from rich.console import Console

        from topout.report.train.table import train_table

        Console().print(train_table(record, str(folder.path)))
    write_json(record, json)
    from topout.report.train.page import train_page

    page = train_page(record)
    save_page(page, folder, report)


def _show_failure(case: Any, folder: Any) -> None:
    """Why a case failed in one line, and how the log of the rank ends."""
    from topout.launch.local import last_lines

    print(f"topout: {case.reason}", file=sys.stderr)  # noqa: T201
    if case.log is None:
        return
    log = folder.path / case.log
    print(f"The end of {log}:", file=sys.stderr)  # noqa: T201
    for line in last_lines(log):
        print(f"  {line}", file=sys.stderr)  # noqa: T201
