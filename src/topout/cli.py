"""The command line: thin verbs that parse, call one function, print and write JSON."""

import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from topout.errors import TopoutError

app = typer.Typer(
    name="topout",
    help=(
        "How far a transformer runs below what its hardware allows, why, "
        "and the way up, one proven step at a time."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

JsonOption = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Write JSON; - for standard output.")
]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.")]


@app.callback()
def topout() -> None:
    """Keeps `topout VERB` even while there are few verbs."""


@app.command()
def machine(
    refresh: Annotated[bool, typer.Option(help="Measure the ceilings again.")] = False,
    quick: Annotated[bool, typer.Option(help="Measure for seconds, not half a minute.")] = False,
    describe_only: Annotated[bool, typer.Option(help="Measure nothing.")] = False,
    device: DeviceOption = "cpu",
    json: JsonOption = None,
) -> None:
    """What is this machine, and what can it reach?"""
    from topout.machine.report import report_machine
    from topout.progress import progress_bar

    _check_outputs(json, None)
    with progress_bar() as progress:
        report = report_machine(
            refresh=refresh,
            quick=quick,
            describe_only=describe_only,
            device=device,
            progress=progress,
        )
    if json != "-":
        from rich.console import Console

        from topout.report.machine_table import machine_table

        Console().print(machine_table(report))
    _write_json(report, json)


@app.command()
def climb(
    model: Annotated[
        str | None, typer.Argument(help="A name, a folder or a hub id; default: the bundled one.")
    ] = None,
    random_weights: Annotated[
        bool, typer.Option(help="Make the weights of a known model from --seed.")
    ] = False,
    draft: Annotated[str | None, typer.Option(help="A smaller model to speculate with.")] = None,
    prompt_len: Annotated[int | None, typer.Option(help="Tokens of the prompt.")] = None,
    new_tokens: Annotated[int, typer.Option(help="Tokens to generate.")] = 128,
    batch_size: Annotated[int, typer.Option(help="Sequences at a time.")] = 1,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all.")] = None,
    device: DeviceOption = "cpu",
    dtype: Annotated[str | None, typer.Option(help="Of the baseline: fp32 or bf16.")] = None,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    top_k: Annotated[int | None, typer.Option(help="Sample among the k likeliest.")] = None,
    seed: Annotated[int, typer.Option(help="Of random weights and of sampling.")] = 0,
    rungs: Annotated[
        str | None, typer.Option(help="Names with commas between; MODULE:CLASS for your own.")
    ] = None,
    max_loss: Annotated[
        float, typer.Option(help="What a near rung may cost in perplexity: 0.01 is 1 %.")
    ] = 0.01,
    text: Annotated[str | None, typer.Option(help="A text file to prompt and verify with.")] = None,
    time_per_rung: Annotated[float, typer.Option(help="Seconds to time a rung for.")] = 20.0,
    rung_timeout: Annotated[float, typer.Option(help="Seconds until a rung counts as hung.")] = 600,
    quick: Annotated[bool, typer.Option(help="Fewer pairs per rung.")] = False,
    resume: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Go on with an interrupted climb.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Where else to put the page.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """What makes it faster, by how much, and is the output still right?"""
    from topout.models.known import DEFAULT_MODEL
    from topout.progress import progress_bar
    from topout.rungs.climb import Interrupted, UnsavedError
    from topout.rungs.climb import climb as climb_ladder
    from topout.rungs.climb import resume as resume_ladder
    from topout.rungs.request import ClimbRequest

    request = ClimbRequest(
        model=model or DEFAULT_MODEL,
        random_weights=random_weights,
        draft=draft,
        prompt_len=prompt_len,
        new_tokens=new_tokens,
        batch_size=batch_size,
        threads=threads,
        device=device,
        dtype=cast(Any, dtype),  # checked by the request
        temperature=temperature,
        top_k=top_k,
        seed=seed,
        rungs=rungs.split(",") if rungs is not None else None,
        max_loss=max_loss,
        text=text,
        time_per_rung_s=time_per_rung,
        rung_timeout_s=rung_timeout,
        quick=quick,
    )
    _check_outputs(json, report)
    try:
        with progress_bar() as notify:
            if resume is not None:
                record, folder = resume_ladder(resume, notify=notify)
            else:
                record, folder = climb_ladder(request, notify=notify)
    except Interrupted as interrupted:
        if interrupted.climb is not None and interrupted.climb.rungs:
            _show_climb(interrupted.climb, json)
        print(  # noqa: T201
            f"Interrupted. Go on with: topout climb --resume {interrupted.folder.path}",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    except UnsavedError as unsaved:
        _show_climb(unsaved.climb, json)
        _write_json(unsaved.climb, json)
        raise
    _show_climb(record, json)
    _write_json(record, json)
    _write_pages(record, folder, report)


def _show_climb(record: Any, json: str | None) -> None:
    if json == "-":
        return
    from rich.console import Console

    from topout.report.climb_table import climb_table

    Console().print(climb_table(record))


def _write_pages(record: Any, folder: Any, report: Path | None) -> None:
    from topout.report.climb_page import climb_page

    page = climb_page(record)
    path = folder.save_report(page)
    if report is not None:
        _write_text(report, page)
        path = report
    print(f"Page: {path}   Record: {folder.path / 'run.json'}", file=sys.stderr)  # noqa: T201


def _check_outputs(json: str | None, report: Path | None) -> None:
    """Raise before anything is measured when a result could not be written where it is to go."""
    from topout.errors import OutputError

    for path in [Path(json)] if json not in (None, "-") else []:
        if not path.absolute().parent.is_dir():
            raise OutputError(f"--json {path}: there is no folder {path.parent}.", "Create it.")
    if report is not None and not report.absolute().parent.is_dir():
        raise OutputError(f"--report {report}: there is no folder {report.parent}.", "Create it.")


def _write_text(path: Path, text: str) -> None:
    from topout.errors import OutputError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}.", "Choose another place for the output."
        ) from None


def _write_json(record: Any, json: str | None) -> None:
    if json is None:
        return
    from topout.records import encode, write

    if json == "-":
        sys.stdout.write(encode(record).decode())
    else:
        write(record, Path(json))


def main() -> None:
    """Run the command line: exit 0 done, 2 bad input, 130 interrupted."""
    try:
        app()
    except TopoutError as error:
        print(f"topout: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt:
        print("topout: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
