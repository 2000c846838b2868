"""`topout cost --check`."""

import typer

from topout.cli.outputs import write_json


def show_check(
    model: str,
    batch_size: int,
    length: int | None,
    image_size: int | None,
    json: str | None,
) -> None:
    """Count a model twice and print both; exit status 1 when they differ."""
    from topout.verbs.check_count import check_count

    record = check_count(model, batch_size=batch_size, length=length, image_size=image_size)
    if json != "-":
        from rich.console import Console

        from topout.report.cost.count_check_table import count_check_table

        Console().print(count_check_table(record))
    write_json(record, json)
    if not record.agrees:
        raise typer.Exit(1)
