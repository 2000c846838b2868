"""`topout gemm`."""

import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from topout.cli.outputs import JsonOption, check_outputs, save_page, write_json


def gemm(
    shape: Annotated[
        list[str] | None, typer.Option(metavar="MxNxK", help="C[M×N] = A[M×K] · B[K×N]; again.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="All products of a model's prefill: gpt2.")
    ] = None,
    prompt_len: Annotated[int | None, typer.Option(help="With --model: tokens; 835.")] = None,
    batch_size: Annotated[int, typer.Option(help="With --model: sequences at a time.")] = 1,
    sweep: Annotated[bool, typer.Option("--sweep", help="Squares from small to large.")] = False,
    dtype: Annotated[
        list[str] | None, typer.Option(help="fp32, bf16 or int8; several with commas.")
    ] = None,
    versions: Annotated[
        str | None, typer.Option(help="Names with commas between; default: all.")
    ] = None,
    rivals: Annotated[bool, typer.Option(help="PyTorch, MKL, oneDNN, OpenBLAS.")] = True,
    threads: Annotated[
        str | None, typer.Option(help="Counts with commas between: 1,2,4; default: all CPUs.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(metavar="FILE.cpp", help="A version of your own.")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(metavar="FILE.cpp", help="Write a starting point for one.")
    ] = None,
    explain: Annotated[bool, typer.Option(help="Why each is as fast as it is.")] = True,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Where else to put the page.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Why is one matrix product 100 × as fast as another? The laboratory, with your own."""
    if init is not None:
        return _write_starting_point(init)
    from topout.gemm.request import GemmRequest

    check_outputs(json, report)
    request = GemmRequest(
        shapes=shape or [],
        model=model,
        prompt_len=prompt_len,
        batch_size=batch_size,
        sweep=sweep,
        dtypes=cast(Any, _names(dtype)),  # checked by the request
        versions=_names([versions] if versions is not None else None),
        rivals=rivals,
        threads=_counts(threads),
        source=str(source) if source is not None else None,
        explain=explain,
        quick=quick,
    )
    return _compare(request, report, json)


def _compare(request: Any, report: Path | None, json: str | None) -> None:
    from topout.gemm.own_source import SourceError
    from topout.progress import progress_bar
    from topout.run_folder import Interrupted
    from topout.verbs.compare_gemms import compare_gemms, failed_versions

    try:
        with progress_bar() as notify:
            record, folder = compare_gemms(request, notify=notify)
    except SourceError as error:
        print(f"topout: {error}\n{error.messages.rstrip()}", file=sys.stderr)  # noqa: T201
        raise typer.Exit(2) from None
    except Interrupted as interrupted:
        print("topout: interrupted", file=sys.stderr)  # noqa: T201
        finished: Any = interrupted.record
        if finished.shapes:
            _show(finished, interrupted.folder, report, json)
        raise typer.Exit(130) from None
    _show(record, folder, report, json)
    if failed_versions(record):
        raise typer.Exit(1)


def _show(record: Any, folder: Any, report: Path | None, json: str | None) -> None:
    """The table, the JSON and the page."""
    if json != "-":
        from rich.console import Console

        from topout.report import describe
        from topout.report.to_terminal import to_terminal

        Console().print(to_terminal(describe(record)))
    write_json(record, json)
    from topout.report import describe
    from topout.report.to_html import to_html

    page = to_html(describe(record))
    save_page(page, folder, report)


def _write_starting_point(path: Path) -> None:
    from topout.gemm.own_source import write_starting_point

    write_starting_point(path)
    print(f"Wrote {path}. Next: topout gemm --source {path}", file=sys.stderr)  # noqa: T201


def _names(texts: list[str] | None) -> list[str] | None:
    """Names with commas between, in one option or in several."""
    if texts is None:
        return None
    return [name.strip() for text in texts for name in text.split(",") if name.strip()]


def _counts(text: str | None) -> list[int] | None:
    from topout.errors import InputError

    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts:
        if not (part.isascii() and part.isdigit() and len(part) < 10):
            raise InputError(
                f"--threads {part!r} is no number of threads.", "Give counts with commas: 1,2,4."
            )
    return [int(part) for part in parts]
