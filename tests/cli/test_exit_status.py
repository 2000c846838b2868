"""Whatever happens is one line and a documented status; `--debug` shows where it came from."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command_line import run
from topout.cli import cost
from topout.cli.exit_status import STATUSES, ended
from topout.cli.signals import Ending
from topout.cli.standard_streams import StandardOutputError
from topout.errors import CompilerError, InputError, ReaderGoneError
from topout.progress import Notify

DOCUMENT = Path(__file__).parents[2] / "docs" / "ci.md"


class Panic(BaseException):
    """As PyO3's PanicException, which is no Exception."""


def raising(error: BaseException) -> Callable[[], int]:
    def run() -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (InputError("no model 'x'.", "Name one."), 2, "topout: no model 'x'. Name one.\n"),
        (
            InputError("no \x1b[31mfile\n\ntopout: all is well."),
            2,
            "topout: no \ufffd[31mfile topout: all is well.\n",
        ),
        (MemoryError(), 2, "topout: the memory does not suffice."),
        (KeyboardInterrupt(), 130, "topout: interrupted\n"),
        (Panic("range end index 9"), 3, "topout: internal error: Panic: range end index 9"),
        (RecursionError("too deep"), 3, "topout: internal error: RecursionError: too deep"),
        (OverflowError("too large"), 3, "topout: internal error: OverflowError: too large"),
        (OSError(5, "I/O error"), 3, "topout: internal error: OSError: [Errno 5] I/O error"),
        (BrokenPipeError(32, "gone"), 3, "topout: internal error: BrokenPipeError"),
        (ValueError("a\nb\rc\x9b\u202ed\udcff"), 3, "ValueError: a b\ufffdc\ufffd\ufffdd\ufffd ("),
        (ReaderGoneError("nobody"), 1, ""),
    ],
)
def test_each_error_is_one_line_with_its_status(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(raising(error), Ending()) == status
    out, err = capsys.readouterr()
    assert out == "" and said in err and bool(said) == bool(err)
    assert err.count("\n") == (1 if said else 0) and "Traceback" not in err


@pytest.mark.parametrize(
    ("number", "said"),
    [(28, "topout: cannot write to standard output: full.\n"), (32, ""), (5, "")],
)
def test_what_cannot_be_shown_is_told_where_somebody_reads(
    number: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dropped = []
    monkeypatch.setattr("topout.cli.exit_status.drop_output", lambda: dropped.append(True))
    assert ended(raising(StandardOutputError(number, "full")), Ending()) == 1
    assert capsys.readouterr().err == said and dropped == [True]


def test_lines_of_a_compiler_stand_below(capsys: pytest.CaptureFixture[str]) -> None:
    error = CompilerError("x.cpp does not compile.")
    error.details = "x.cpp:1: error\n  \x1b]0;title\x07\n"
    assert ended(raising(error), Ending()) == 2
    assert capsys.readouterr().err == (
        "topout: x.cpp does not compile.\nx.cpp:1: error\n  \ufffd]0;title\ufffd\n"
    )


def test_an_internal_error_says_where_it_was_raised(capsys: pytest.CaptureFixture[str]) -> None:
    ended(raising(ValueError("x")), Ending())
    assert re.search(r"ValueError: x \(test_exit_status\.py:\d+\)", capsys.readouterr().err)


@pytest.mark.parametrize("asked", ["flag", "variable", "neither"])
def test_debug_shows_the_traceback(
    asked: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line stays the one that says what it is; nothing of it is obeyed."""

    def answer(request: cost.CostRequest, outputs: cost.RooflineOutputs, notify: Notify) -> None:
        raise ZeroDivisionError("\x1b[2J")

    monkeypatch.setitem(cost.ANSWERS, "", answer)
    monkeypatch.setenv("TOPOUT_DEBUG", "1" if asked == "variable" else "0")
    line = ["cost", *(["--debug"] if asked == "flag" else [])]
    status, out, err = run(line, monkeypatch, capsys)
    assert (status, out) == (3, "") and "\x1b" not in err
    assert ("Traceback" in err and __file__ in err) == (asked != "neither")
    assert err.splitlines()[-1].startswith("topout: internal error: ZeroDivisionError: \ufffd[2J (")


def test_the_statuses_are_documented() -> None:
    """Each once, in the words of the table."""
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", DOCUMENT.read_text(), re.MULTILINE))
    assert rows == {str(status): meaning for status, meaning in STATUSES.items()}


def test_a_status_of_its_own_passes() -> None:
    with pytest.raises(SystemExit):
        ended(lambda: sys.exit(1), Ending())
    assert ended(lambda: 0, Ending()) == 0
