"""`topout climb`."""

import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from topout.cli.unmoved import DeviceOption, JsonOption, check_outputs, save_page, write_json


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
    from topout.ladder.request import ClimbRequest
    from topout.models.known import DEFAULT_MODEL
    from topout.progress import progress_bar
    from topout.verbs.climb import Interrupted, UnsavedError
    from topout.verbs.climb import climb as climb_ladder
    from topout.verbs.climb import resume as resume_ladder

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
    check_outputs(json, report)
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
        write_json(unsaved.climb, json)
        raise
    _show_climb(record, json)
    write_json(record, json)
    _write_pages(record, folder, report)


def _show_climb(record: Any, json: str | None) -> None:
    if json == "-":
        return
    from rich.console import Console

    from topout.report import describe
    from topout.report.to_terminal import to_terminal

    Console().print(to_terminal(describe(record)))


def _write_pages(record: Any, folder: Any, report: Path | None) -> None:
    from topout.report import describe
    from topout.report.to_html import to_html

    page = to_html(describe(record))
    save_page(page, folder, report)
