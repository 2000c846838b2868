"""`topout trace FILE…`, `topout trace diff A B` and `topout trace runs RUN RUN…`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from topout.cli.outputs import JsonOption, check_outputs, save_page, write_json
from topout.errors import InputError

_DIFF, _RUNS = "diff", "runs"


def trace(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|FOLDER...",
            help="Traces, or folders with a file per rank; or: diff BEFORE AFTER; "
            "or: runs RUN RUN...",
        ),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Your own rules for groups of kernels."),
    ] = None,
    groups: Annotated[str, typer.Option(help="Of kernels: fine or coarse.")] = "fine",
    top: Annotated[int, typer.Option(help="Kernels of a device to show.")] = 10,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Where else to put the page.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Where does the time go in a trace recorded elsewhere?

    And `diff`: what got slower? And `runs`, on 1, 2 and 4 devices: does it scale?

    Reads PyTorch (Kineto) JSON, nvprof CSV and Nsight Systems CSV and SQLite, gzipped or not.
    A file that is itself named diff or runs is given as ./diff or ./runs.
    """
    if top < 1:
        raise InputError(f"--top {top} shows nothing.", "Give 1 or more.")
    check_outputs(json, report)
    # Strings, not paths: "./diff" is a file, and as a path it would be "diff".
    named = files or []
    if named[:1] == [_DIFF]:
        _diff(named[1:], rules, groups, top, report, json)
    elif named[:1] == [_RUNS]:
        _runs(named[1:], rules, groups, report, json)
    else:
        _report(named, rules, groups, top, report, json)


def _report(
    files: list[str],
    rules: Path | None,
    groups: Any,
    top: int,
    report: Path | None,
    json: str | None,
) -> None:
    from topout.progress import progress_bar
    from topout.verbs.read_traces import report_trace

    with progress_bar() as notify:
        record, folder = report_trace(files, rules=rules, groups=groups, notify=notify)
    if json != "-":
        from topout.report.trace.table import trace_table

        _print(trace_table(record, top))
    write_json(record, json)
    from topout.report.trace.page import trace_page

    save_page(trace_page(record, top), folder, report)


def _diff(
    files: list[str],
    rules: Path | None,
    groups: Any,
    top: int,
    report: Path | None,
    json: str | None,
) -> None:
    if len(files) != 2:
        raise InputError(
            f"`trace diff` compares two traces, and {len(files)} "
            f"{'is' if len(files) == 1 else 'are'} named.",
            "Say: topout trace diff BEFORE AFTER (a folder for several ranks; a file named diff "
            "is ./diff).",
        )
    from topout.progress import progress_bar
    from topout.verbs.read_traces import diff_traces

    with progress_bar() as notify:
        record, folder = diff_traces(*files, rules=rules, groups=groups, notify=notify)
    if json != "-":
        from topout.report.trace.diff_table import trace_diff_table

        _print(trace_diff_table(record, top))
    write_json(record, json)
    from topout.report.trace.diff_page import trace_diff_page

    save_page(trace_diff_page(record, top), folder, report)


def _runs(
    files: list[str], rules: Path | None, groups: Any, report: Path | None, json: str | None
) -> None:
    if len(files) < 2:
        raise InputError(
            f"`trace runs` compares two runs or more, and {len(files)} "
            f"{'is' if len(files) == 1 else 'are'} named.",
            "Say: topout trace runs RUN RUN... (a folder for the ranks of a run; a file named "
            "runs is ./runs).",
        )
    from topout.progress import progress_bar
    from topout.verbs.trace_runs import compare_runs

    with progress_bar() as notify:
        record, folder = compare_runs(files, rules=rules, groups=groups, notify=notify)
    if json != "-":
        from topout.report.trace.runs_table import trace_runs_table

        _print(trace_runs_table(record))
    write_json(record, json)
    from topout.report.trace.runs_page import trace_runs_page

    save_page(trace_runs_page(record), folder, report)


def _print(table: Any) -> None:
    from rich.console import Console

    Console().print(table)
