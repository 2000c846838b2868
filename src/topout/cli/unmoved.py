"""Where results go: checked before anything is measured, written at the end."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

JsonOption = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Write JSON; - for standard output.")
]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.")]
ReportOption = Annotated[
    Path | None, typer.Option("--report", metavar="FILE.html", help="Where to put the page.")
]


def check_outputs(json: str | None, report: Path | None) -> None:
    """Raise before anything is measured when a result could not be written where it is to go."""
    from topout.errors import OutputError

    for path in [Path(json)] if json not in (None, "-") else []:
        if not path.absolute().parent.is_dir():
            raise OutputError(f"--json {path}: there is no folder {path.parent}.", "Create it.")
    if report is not None and not report.absolute().parent.is_dir():
        raise OutputError(f"--report {report}: there is no folder {report.parent}.", "Create it.")


def write_text(path: Path, text: str) -> None:
    from topout.errors import OutputError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}.", "Choose another place for the output."
        ) from None


def save_page(page: str, folder: Any, report: Path | None, **more: object) -> None:
    """Write a page into its run's folder and where --report says; says on stderr where all is."""
    from topout.run_folder import RUN_FILE

    path = folder.save_report(page)
    if report is not None:
        write_text(report, page)
        path = report
    places = {"Page": path, "Record": folder.path / RUN_FILE, **more}
    print(*(f"{what}: {place}" for what, place in places.items()), sep="   ", file=sys.stderr)  # noqa: T201


def write_json(record: Any, json: str | None) -> None:
    if json is None:
        return
    from topout.records import encode, write

    if json == "-":
        sys.stdout.write(encode(record).decode())
    else:
        write(record, Path(json))


def main(arguments: list[str]) -> None:
    """Run a verb whose request does not declare its options yet."""
    from topout.cli.climb import climb
    from topout.cli.profile import profile
    from topout.cli.run import run

    app = typer.Typer(
        name="topout",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for verb in (run, profile, climb):
        app.command()(verb)
    app(arguments)
