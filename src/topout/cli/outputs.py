"""Where results go: checked before the work starts, shown and written at its end."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

from topout.cli.places import is_standard_output
from topout.cli.standard_streams import print_utf8
from topout.errors import InputError, TopoutError, writing
from topout.options import Option, Request
from topout.progress import say
from topout.run_folder import RUN_FILE, RunFolder
from topout.visible_text import one_line
from topout.whole_file import whole_file

_UNKNOWN_WIDTH = 80


class Result(NamedTuple):
    """What a verb answers."""

    record: Any = None  # of `topout.records`, or a list; None: nothing is to be shown or written
    folder: RunFolder | None = None  # where the verb keeps it
    status: int = 0  # 1: a check that was asked for failed
    page_view: Mapping[str, Any] = MappingProxyType({})  # and on a page alone
    note: str = ""  # what else is said on standard error
    places: Mapping[str, object] = MappingProxyType({})  # what else was written, and where
    error: TopoutError | None = None  # raised when all is shown and written
    text: str = ""  # on standard output, where there is no record
    view: Mapping[str, Any] = MappingProxyType({})  # how it is shown, beside what the record says


class Outputs(Request, frozen=True, kw_only=True):
    """Where the results of a verb go."""

    verbose: Annotated[bool, Option("Tell what is measured, kept and run.", short="-v")] = False
    quiet: Annotated[bool, Option("Results and errors alone.", short="-q")] = False
    debug: Annotated[bool, Option("Show where an error came from.")] = False

    @property
    def shows_progress(self) -> bool:
        """Whether it may be shown what happens meanwhile."""
        return not self.quiet

    def check(self) -> None:
        """Raise InputError for options that contradict each other."""
        if self.quiet and self.verbose:
            raise InputError("--quiet and --verbose contradict each other.", "Give one of them.")

    def note(self, text: str) -> None:
        """Say something beside the results, where that is wanted."""
        if text and not self.quiet:
            say(text)

    def show(self, result: Result) -> None:
        """Print the result."""
        if result.text:
            print(result.text)  # noqa: T201

    def write(self, result: Result) -> None:
        """Write what was asked for; raises OutputError."""


class ShownOutputs(Outputs, frozen=True, kw_only=True):
    """A record on standard output: for people, or in a format for other programs."""

    format: Annotated[
        Literal["markdown", "csv", "json"] | None,
        Option("markdown, csv or json on standard output.", metavar="FORMAT"),
    ] = None

    @property
    def shown_format(self) -> str | None:
        """What is printed; None for what people read on a terminal."""
        return self.format

    def show(self, result: Result) -> None:
        """Print the record; raises InputError for the CSV of one that has no table."""
        if result.record is not None:
            _print(result, self.shown_format)


class JsonOutputs(ShownOutputs, frozen=True, kw_only=True):
    """A record as JSON."""

    json: Annotated[
        str | None, Option("Write JSON; - for standard output.", metavar="FILE", writes=True)
    ] = None

    @property
    def shown_format(self) -> str | None:
        """What is printed; `--json -` is another spelling of `--format json`."""
        return "json" if is_standard_output(self.json) else self.format

    def check(self) -> None:
        """Raise InputError for two formats at once."""
        super().check()
        if is_standard_output(self.json) and self.format is not None:
            raise InputError(
                f"--format {self.format} and --json {self.json} both want standard output.",
                "Name a file for the JSON.",
            )

    def write(self, result: Result) -> None:
        """Write the JSON to its file."""
        from topout.records import write

        if self.json is not None and not is_standard_output(self.json):
            write(result.record, Path(self.json))


class PageOutputs(JsonOutputs, frozen=True, kw_only=True):
    """A record as JSON and as a page, which a run folder keeps as well."""

    report: Annotated[Path | None, Option("Write the page.", metavar="FILE.html", writes=True)] = (
        None
    )

    def write(self, result: Result) -> None:
        """Write the JSON, and the page; says where they are where that is not plain."""
        super().write(result)
        if self.report is None and result.folder is None:
            return
        page = page_of(result)
        if self.report is not None:
            write_file(self.report, page)
        if result.folder is not None:
            kept = result.folder.save_report(page)
            places = {"Page": self.report or kept, "Record": result.folder.path / RUN_FILE}
            said = {**places, **result.places}
            self.note(one_line("   ".join(f"{what}: {place}" for what, place in said.items())))


def _print(result: Result, form: str | None) -> None:
    """The record in this format, or as rich shows it on a terminal."""
    from topout.records import encode
    from topout.report import describe

    if form == "json":
        print_utf8(encode(result.record, sealed=True).decode())
    elif form == "csv":
        from topout.report.to_csv import to_csv

        print_utf8(to_csv(result.record))
    elif form == "markdown":
        from topout.report.to_markdown import to_markdown

        print_utf8(to_markdown(describe(result.record, **result.view)))
    else:
        from topout.report.to_terminal import to_terminal

        print_table(to_terminal(describe(result.record, **result.view)))


def page_of(result: Result) -> str:
    """The record as a page."""
    from topout.report import describe
    from topout.report.to_html import to_html

    return to_html(describe(result.record, **result.view, **result.page_view))


def print_table(table: Any) -> None:
    """Print what rich can render."""
    from rich.console import Console

    console = Console()
    if not console.width:  # COLUMNS=0: it is not known
        console.width = _UNKNOWN_WIDTH
    console.print(table)


def check_ending(option: str, path: Path | None, *endings: str) -> None:
    """Raise InputError for a file of another kind than the endings say, such as ".svg"."""
    if path is not None and path.suffix.lower() not in endings:
        raise InputError(
            f"{option} {path} does not end in {' or '.join(endings)}.", "Give it that ending."
        )


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file; raises OutputError."""
    with writing(path), whole_file(path) as unfinished:
        unfinished.write_bytes(content if isinstance(content, bytes) else content.encode())
