"""`topout cost --example`."""

from pathlib import Path

from topout.cli.outputs import write_json, write_text
from topout.cli.pictures import check_picture, write_chart
from topout.errors import InputError


def show_example(
    name: str,
    n: int | None,
    on: list[str],
    threads: int | None,
    roofline: Path | None,
    report: Path | None,
    json: str | None,
) -> None:
    """Work an example through, print it, and write what was asked for."""
    from topout.progress import progress_bar
    from topout.report.example.page import example_charts, example_page
    from topout.verbs.work_example import work_example

    check_picture(roofline)
    with progress_bar() as progress:
        record = work_example(name, n, on, threads, progress)
    if json != "-":
        from rich.console import Console

        from topout.report.example.table import example_table

        Console().print(example_table(record))
    write_json(record, json)
    if report is not None:
        write_text(report, example_page(record))
    if roofline is not None:
        charts = example_charts(record)
        if not charts:
            raise InputError("no machine has the figures for a roofline.", "Name another one.")
        write_chart(charts[0].spec, roofline)
