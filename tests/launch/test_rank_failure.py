"""How a rank ended, in words, and the end of its log."""

from pathlib import Path

import pytest

from topout.launch.agent import RankEnd
from topout.launch.rank_failure import failure_of, first_failure, how_ended, last_lines


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
    failure = failure_of(RankEnd(rank=3, exit_status=1), {}, log)
    assert failure.rank == 3 and failure.log == log


@pytest.mark.parametrize(
    ("statuses", "noted_ns", "first"),
    [
        ({0: 1, 1: 1}, {0: 20, 1: 10}, 1),  # rank 0 failed because rank 1 was gone
        ({0: 1, 1: -9}, {0: 20}, 1),  # a rank that is killed says nothing
        ({0: -6, 1: 1}, {1: 10}, 1),  # the other's watchdog aborted it
        ({0: -15, 1: 7}, {}, 1),  # torchrun ended rank 0
        ({0: -15, 1: -6}, {}, 1),
        ({}, {}, None),
    ],
)
def test_the_first_failure_is_the_one_that_the_others_follow_from(
    statuses: dict[int, int], noted_ns: dict[int, int], first: int | None
) -> None:
    ends = [RankEnd(rank, status) for rank, status in statuses.items()]
    found = first_failure(ends, noted_ns)
    assert (found.rank if found is not None else None) == first
