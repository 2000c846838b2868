"""`topout cost`, with its other questions: --list, --layers, --example."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from topout.cli.outputs import JsonOption, ReportOption, check_outputs, write_json, write_text
from topout.errors import InputError

OnOption = Annotated[
    list[str] | None,
    typer.Option("--on", metavar="NAME", help="A machine, or a file of one; here: this one."),
]


def cost(
    model: Annotated[
        str | None, typer.Argument(help="A name, a folder, a config.json or a hub id.")
    ] = None,
    on: OnOption = None,
    prompt_len: Annotated[int | None, typer.Option(help="Tokens of the prompt.")] = None,
    context_len: Annotated[int | None, typer.Option(help="Tokens that a decoded one sees.")] = None,
    batch_size: Annotated[int, typer.Option(help="Sequences, or images, at a time.")] = 1,
    dtype: Annotated[str | None, typer.Option(help="fp32, bf16 or fp16.")] = None,
    quantize: Annotated[
        str | None, typer.Option(help="Weights of linear layers: int8, fp8, int4-g32, int4-g128.")
    ] = None,
    kv_dtype: Annotated[str | None, typer.Option(help="Of the KV cache; default: --dtype.")] = None,
    tp: Annotated[int, typer.Option(help="Devices that share each layer.")] = 1,
    dp: Annotated[int, typer.Option(help="Devices that share a training batch.")] = 1,
    pp: Annotated[int, typer.Option(help="Devices that share the layers, in training.")] = 1,
    mode: Annotated[str, typer.Option(help="How it runs: compiled or eager.")] = "compiled",
    recompute: Annotated[str, typer.Option(help="In training: none, selective or full.")] = "none",
    threads: Annotated[int | None, typer.Option(help="CPU threads here; default: all.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels a side, of image models.")] = None,
    known: Annotated[bool, typer.Option("--list", help="The models that have a name.")] = False,
    layers: Annotated[
        bool, typer.Option("--layers", help="Layer by layer: shapes, parameters, memory.")
    ] = False,
    depth: Annotated[int | None, typer.Option(help="With --layers: how deep.")] = None,
    expand: Annotated[
        bool, typer.Option("--expand", help="With --layers: every one of equal blocks.")
    ] = False,
    graph: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="With --layers: the graph's picture.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Count twice: by formula and by a run."),
    ] = False,
    example: Annotated[
        str | None, typer.Option(help="A worked example instead: axpy, stencil or matmul.")
    ] = None,
    n: Annotated[int | None, typer.Option("--n", help="With --example: its size.")] = None,
    roofline: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="The roofline's picture, or a .png.")
    ] = None,
    report: ReportOption = None,
    json: JsonOption = None,
) -> None:
    """What does it need, and how long should it take, here or on another machine?"""
    check_outputs(json, report)
    if example is not None:
        from topout.cli.cost_example import show_example

        if model is not None:
            raise InputError(f"--example needs no model, and {model!r} is one.", "Leave it out.")
        return show_example(example, n, on or [], threads, roofline, report, json)
    if known:
        from topout.cli.cost_list import list_models

        return list_models()
    if check:
        from topout.cli.cost_check import show_check

        return show_check(_named(model), batch_size, prompt_len, image_size, json)
    if layers or graph is not None:
        from topout.cli.cost_layers import show_layers

        return show_layers(
            _named(model), batch_size, prompt_len, depth, expand, dtype, graph, report, json
        )
    from topout.cli.pictures import check_picture
    from topout.verbs.cost_request import CostRequest

    check_picture(roofline)
    request = CostRequest(
        model=_named(model),
        on=on or [],
        prompt_len=prompt_len,
        context_len=context_len,
        batch_size=batch_size,
        dtype=dtype,
        quantize=quantize,
        kv_dtype=kv_dtype,
        tensor_parallel=tp,
        data_parallel=dp,
        pipeline_parallel=pp,
        mode=mode,
        recompute=cast(Any, recompute),  # checked by the request
        threads=threads,
        image_size=image_size,
    )
    return _show(request, roofline, report, json)


def _named(model: str | None) -> str:
    from topout.models.known import DEFAULT_MODEL

    return model or DEFAULT_MODEL


def _show(request: Any, roofline: Path | None, report: Path | None, json: str | None) -> None:
    from topout.progress import progress_bar
    from topout.verbs.report_cost import report_cost

    with progress_bar() as progress:
        record = report_cost(request, progress)
    if json != "-":
        from rich.console import Console

        from topout.report.cost.table import cost_table

        Console().print(cost_table(record))
    write_json(record, json)
    if roofline is not None:
        _draw(record, roofline, json)
    if report is not None:
        from topout.report.cost.page import cost_page
        from topout.report.cost.rooflines import cost_rooflines

        write_text(report, cost_page(record, cost_rooflines(record)))


def _draw(record: Any, path: Path, json: str | None) -> None:
    """The first machine's roofline as a picture, and as a table by intensity."""
    from topout.cli.pictures import write_chart
    from topout.report.cost.rooflines import cost_roofline_table, cost_rooflines

    charts = cost_rooflines(record)
    if not charts:
        raise InputError("no machine has the figures for a roofline.", "Name another with --on.")
    write_chart(charts[0][1], path)
    if json != "-":
        from rich.console import Console

        Console().print(cost_roofline_table(record))
