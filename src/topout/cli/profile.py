"""`topout profile`."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from topout.cli.unmoved import DeviceOption, JsonOption, check_outputs, save_page, write_json


def profile(
    model: Annotated[
        str | None, typer.Argument(help="A name, a folder or a hub id; default: the bundled one.")
    ] = None,
    random_weights: Annotated[
        bool, typer.Option(help="Make the weights of a known model from --seed.")
    ] = False,
    backend: Annotated[
        str, typer.Option(help="decoder (this program's own) or transformers.")
    ] = "decoder",
    phase: Annotated[str, typer.Option(help="both, prefill or decode.")] = "both",
    prompt_len: Annotated[int | None, typer.Option(help="Tokens of the prompt.")] = None,
    new_tokens: Annotated[
        int, typer.Option(help="Tokens to generate: the first is prefill's, the others decode's.")
    ] = 8,
    batch_size: Annotated[int, typer.Option(help="Sequences at a time.")] = 1,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all.")] = None,
    device: DeviceOption = "cpu",
    dtype: Annotated[str | None, typer.Option(help="fp32 or bf16.")] = None,
    seed: Annotated[int, typer.Option(help="Of random weights.")] = 0,
    text: Annotated[str | None, typer.Option(help="A text file to prompt with.")] = None,
    repeats: Annotated[
        int, typer.Option(help="Pairs of runs, one with the profiler and one without.")
    ] = 3,
    perfetto: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json.gz", help="Put the trace there, for Perfetto or Chrome."),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Put the trace there, for TensorBoard.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Where else to put the page.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Where does the time go, and how far is each part from the roof?"""
    from topout.models.known import DEFAULT_MODEL
    from topout.profiling.request import ProfileRequest
    from topout.progress import progress_bar
    from topout.verbs.profile_model import profile_model

    request = ProfileRequest(
        model=model or DEFAULT_MODEL,
        random_weights=random_weights,
        backend=cast(Any, backend),  # checked by the request, as are phase and data type
        phase=cast(Any, phase),
        prompt_len=prompt_len,
        new_tokens=new_tokens,
        batch_size=batch_size,
        threads=threads,
        device=device,
        dtype=cast(Any, dtype),
        seed=seed,
        text=text,
        repeats=repeats,
        perfetto=perfetto,
        tensorboard=tensorboard,
    )
    check_outputs(json, report)
    with progress_bar() as notify:
        record, folder = profile_model(request, notify=notify)
    _show(record, json)
    write_json(record, json)
    _write_pages(record, folder, report)


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

    roofs = roofs_for(record.machine, record.ceilings, record.threads)
    page = to_html(describe(record, hardware=roofs))
    trace = record.exports[0] if record.exports else "none"
    save_page(page, folder, report, Trace=trace)
