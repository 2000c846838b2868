"""What is left of some work, and lines that stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.progress import Progress, TimeLeft, part_of


def test_what_is_left_goes_by_the_pace_since_the_first_part() -> None:
    """Calibration takes 40 s and says nothing; then each quarter takes 10 s."""
    now = 0.0
    left = TimeLeft(lambda: now)
    left.update(0.0)
    assert left.left_s() is None
    now = 40.0
    left.update(0.25)
    assert left.left_s() is None  # one point has no pace
    now = 50.0
    left.update(0.5)
    assert left.left_s() == 20.0 and left.words() == "about 20 s left"
    now = 55.0
    left.update(0.5)  # nothing new: it is still expected to end at 70 s
    assert left.left_s() == 15.0
    now = 90.0
    assert left.left_s() == 0.0 and left.words() == ""  # never below
    left.update(0.75)  # 50 s for half of it
    assert left.words() == "about 25 s left"
    now = 490.0
    left.update(0.8)
    assert left.words() == "about 3 min left"  # 450 s for 0.55 of it: 164 s for the rest


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0.001, 1e4))
def test_whatever_is_told_it_is_never_negative(shares: list[float], step_s: float) -> None:
    now = 0.0

    def clock() -> float:
        return now

    left = TimeLeft(clock)
    for share in shares:
        now += step_s
        left.update(share)
        left_s = left.left_s()
        assert left_s is None or left_s >= 0


def test_lines_are_plain_and_obey_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal what happens is not shown, and what has happened is."""
    progress = Progress()
    progress("a step", 0.5)
    progress.announce("static_cache: kept\x1b[2J")
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err == "static_cache: kept\ufffd[2J\n"


def test_a_part_is_told_as_its_share_of_the_whole() -> None:
    told: list[tuple[str, float]] = []
    part = part_of(lambda what, done: told.append((what, done)), 0.5, 1.0)
    for done in (-1.0, 0.0, 0.5, 2.0):
        part("x", done)
    assert told == [("x", 0.5), ("x", 0.5), ("x", 0.75), ("x", 1.0)]
