"""`topout cost --layers` and `--graph`."""

from pathlib import Path

from topout.cli.outputs import write_json, write_text
from topout.errors import InputError, UnsupportedError


def show_layers(
    model: str,
    batch_size: int,
    length: int | None,
    depth: int | None,
    expand: bool,
    dtype: str | None,
    graph: Path | None,
    report: Path | None,
    json: str | None,
) -> None:
    """Print a model's layers, and write its graph, page and record where they are asked for."""
    from topout.verbs.list_layers import list_layers

    if graph is not None and graph.suffix.lower() != ".svg":
        raise InputError(f"--graph {graph} does not end in .svg.", "Give it that ending.")
    record = list_layers(
        model,
        batch_size=batch_size,
        length=length,
        depth=depth,
        expand=expand,
        dtype=dtype or "fp32",
    )
    if json != "-":
        from rich.console import Console

        from topout.report.layers.table import layers_table

        Console().print(layers_table(record, expand))
    write_json(record, json)
    if report is not None:
        from topout.report.layers.page import layers_page

        write_text(report, layers_page(record, expand))
    if graph is not None:
        from topout.report.graph.module_graph import module_graph_svg

        if record.graph is None:
            raise UnsupportedError(f"no graph: {record.reasons['graph']}", "The layers are shown.")
        write_text(graph, module_graph_svg(record.graph))
