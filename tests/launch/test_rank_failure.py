"""How a rank ended, in words, and the end of its log."""

from pathlib import Path

import pytest

from topout.launch.agent import FirstFailure
from topout.launch.rank_failure import failure_of, how_ended, last_lines


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (1, "ended with exit status 1"),
        (-11, "crashed with SIGSEGV"),
        (-9, "was killed (SIGKILL), which is how the system ends a process for memory"),
        (-250, "crashed with signal 250"),
    ],
)
def test_an_exit_status_in_words(status: int, words: str) -> None:
    assert how_ended(status) == words


def test_the_last_lines_are_those_with_text_and_long_ones_are_cut(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"line %d\n\n" % n for n in range(50)) + b"x" * 1000 + b"\n\xff\n")
    lines = last_lines(log, 3)
    assert lines == ["line 49", "x" * 300, "\ufffd"]
    assert last_lines(tmp_path / "none") == []


def test_without_a_rank_torchrun_itself_failed(tmp_path: Path) -> None:
    log = tmp_path / "torchrun.log"
    log.write_text("no such module\n")
    failure = failure_of(None, {}, log)
    assert failure.rank is None and failure.last_lines == ["no such module"]


def test_a_rank_without_a_log_is_told_by_torchruns(tmp_path: Path) -> None:
    log = tmp_path / "torchrun.log"
    log.write_text("nothing\n")
    failure = failure_of(FirstFailure(rank=3, exit_status=1), {}, log)
    assert failure.rank == 3 and failure.log == log
