"""`topout run`."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from topout.cli.unmoved import JsonOption, check_outputs, save_page, write_json


def run(
    model: Annotated[
        str | None, typer.Argument(help="A name, a folder or a hub id; default: the bundled one.")
    ] = None,
    gemm: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION|FILE.cpp", help="A matrix product to put in PyTorch's place."
        ),
    ] = None,
    random_weights: Annotated[
        bool, typer.Option(help="Make the weights of a known model from --seed.")
    ] = False,
    backend: Annotated[
        str, typer.Option(help="decoder (this program's own) or transformers.")
    ] = "decoder",
    prompt_len: Annotated[int | None, typer.Option(help="Tokens of the prompt.")] = None,
    new_tokens: Annotated[int, typer.Option(help="Tokens to generate.")] = 128,
    batch_size: Annotated[int, typer.Option(help="Sequences at a time.")] = 1,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all.")] = None,
    dtype: Annotated[str | None, typer.Option(help="fp32 or bf16.")] = None,
    seed: Annotated[int, typer.Option(help="Of random weights.")] = 0,
    text: Annotated[str | None, typer.Option(help="A text file to prompt and verify with.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Runs, or pairs of runs with --gemm.")] = None,
    quick: Annotated[bool, typer.Option(help="Two runs of a few tokens.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Where else to put the page.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """How fast is it now? And with another matrix product in PyTorch's place?"""
    from topout.models.known import DEFAULT_MODEL
    from topout.progress import progress_bar
    from topout.verbs.run_model import run_model
    from topout.verbs.run_request import RunRequest

    request = RunRequest(
        model=model or DEFAULT_MODEL,
        gemm=gemm,
        random_weights=random_weights,
        backend=cast(Any, backend),  # checked by the request, as is the data type
        prompt_len=prompt_len,
        new_tokens=new_tokens,
        batch_size=batch_size,
        threads=threads,
        dtype=cast(Any, dtype),
        seed=seed,
        text=text,
        repeats=repeats,
        quick=quick,
    )
    check_outputs(json, report)
    with progress_bar() as notify:
        record, folder = run_model(request, notify=notify)
    _show(record, json)
    write_json(record, json)
    _write_pages(record, folder, report)
    if record.gemm is not None and not record.gemm.passed:
        raise typer.Exit(1)


def _show(record: Any, json: str | None) -> None:
    if json == "-":
        return
    from rich.console import Console

    from topout.report import describe
    from topout.report.to_terminal import to_terminal

    Console().print(to_terminal(describe(record)))


def _write_pages(record: Any, folder: Any, report: Path | None) -> None:
    from topout.machine.catalog.measured import roofs_for
    from topout.report import describe
    from topout.report.to_html import to_html

    roofs = roofs_for(record.machine, record.ceilings, record.workload.threads)
    page = to_html(describe(record, hardware=roofs))
    save_page(page, folder, report)
