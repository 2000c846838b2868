"""Measurements that are kept, and which one stands."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.known_machine import known_ceilings
from topout.errors import RecordError
from topout.machine import kept
from topout.machine.describe import describe
from topout.machine.kept import Shelf, is_disturbed, is_settled, kept_doubts
from topout.records import Ceilings, Doubt

STEAL = Doubt(about="steal", sentence="5 % were given away.", remedy="Ask for CPUs.")
SPREAD = Doubt(about="bandwidth", sentence="Trials differ.", remedy="Measure again.")
KNOWN = known_ceilings(describe())


def ceilings(second: int, *doubts: Doubt, quick: bool = False, elapsed_s: float = 1.0) -> Ceilings:
    """Measured in this second; the seconds that it took are their merit here."""
    return msgspec.structs.replace(
        KNOWN,
        measured_at=f"2026-02-01T00:00:{second:02}+00:00",
        quick=quick,
        elapsed_s=elapsed_s,
        doubts=list(doubts),
    )


def accept(measurement: Ceilings, source: str) -> Ceilings:
    if measurement.elapsed_s > 99:
        raise RecordError(source, "")
    return measurement


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf[Ceilings]:
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path))
    monkeypatch.setattr(kept, "load_doubts", list)
    return Shelf("part", "host-cpu", Ceilings, accept, lambda each: each.elapsed_s)


def test_undisturbed_then_full_then_newest_or_the_better_of_disturbed_ones(
    shelf: Shelf[Ceilings],
) -> None:
    ordered = [
        ceilings(2),
        ceilings(1, SPREAD),  # trials that differ are no disturbance
        ceilings(9, quick=True),
        ceilings(3, STEAL, elapsed_s=8.0),
        ceilings(8, STEAL, elapsed_s=7.0),
        ceilings(7, STEAL, elapsed_s=9.0, quick=True),
    ]
    for each in (ordered[i] for i in (3, 0, 5, 1, 4, 2)):
        shelf.keep(each)
    assert shelf.kept() == ordered
    assert shelf.standing(ordered[::-1]) == ordered


def test_keeping_tells_what_stands(shelf: Shelf[Ceilings]) -> None:
    calm, disturbed, newer = ceilings(1), ceilings(2, STEAL), ceilings(3)
    assert shelf.keep(disturbed) == disturbed
    assert shelf.keep(calm) == calm
    assert shelf.keep(disturbed) == calm
    assert shelf.keep(newer) == newer


def test_eight_are_kept_and_the_worst_go(shelf: Shelf[Ceilings], tmp_path: Path) -> None:
    shelf.keep(ceilings(1))
    (folder,) = (each for each in tmp_path.iterdir() if each.name == "part")
    (folder / "host-cpu-damaged.json").write_text("{")
    (folder / "host-cuda-1.json").write_text("{")  # of another device
    for merit in range(2, 12):
        shelf.keep(ceilings(merit, STEAL, elapsed_s=float(merit)))
    assert [each.elapsed_s for each in shelf.kept()] == [1.0, 11, 10, 9, 8, 7, 6, 5]
    assert len(list(folder.iterdir())) == 8 + 1


def test_measurements_of_one_second_stand_side_by_side(shelf: Shelf[Ceilings]) -> None:
    for elapsed_s in (1.0, 2.0, 3.0):
        shelf.keep(ceilings(1, elapsed_s=elapsed_s))
    assert len(shelf.kept()) == 3


def test_what_cannot_be_is_not_kept(shelf: Shelf[Ceilings]) -> None:
    shelf.keep(ceilings(1, elapsed_s=100.0))
    assert shelf.kept() == []


def test_when_another_measurement_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calm, quick, disturbed = ceilings(1), ceilings(2, quick=True), ceilings(3, STEAL)
    monkeypatch.setattr(kept, "load_doubts", list)
    assert not is_settled([])
    assert is_settled([calm])
    assert is_settled([calm], quick=False)
    assert is_settled([quick])
    assert not is_settled([quick], quick=False)
    assert not is_settled([disturbed])  # the machine is quiet now
    assert not is_settled([quick, disturbed], quick=False)
    assert is_settled([disturbed] * 3)  # it never was when it mattered
    monkeypatch.setattr(kept, "load_doubts", lambda: [STEAL])
    assert is_settled([disturbed])
    assert is_settled([quick, disturbed], quick=False)
    assert not is_settled([quick], quick=False)  # a full one was never measured


def test_a_disturbance_is_told_wherever_it_is_used() -> None:
    assert is_disturbed(ceilings(1, SPREAD, STEAL))
    (doubt,) = kept_doubts(ceilings(1, SPREAD, STEAL))
    assert doubt.about == "ceilings"
    assert doubt.sentence == (
        "The ceilings were measured on 2026-02-01 and are doubtful. 5 % were given away."
    )
    assert doubt.remedy == STEAL.remedy
    assert kept_doubts(ceilings(1, SPREAD)) == []


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 59)), min_size=1))
def test_a_disturbed_one_never_stands_before_an_undisturbed_one(
    measured: list[tuple[bool, bool, int]],
) -> None:
    """Nor a quick one before a full one that was disturbed as much."""
    shelf = Shelf("part", "host-cpu", Ceilings, accept, lambda each: each.elapsed_s)
    found = shelf.standing(
        [
            ceilings(second, *([STEAL] if disturbed else []), quick=quick)
            for disturbed, quick, second in measured
        ]
    )
    ranks = [(is_disturbed(each), each.quick) for each in found]
    assert ranks == sorted(ranks)
    calm = [each.measured_at for each in found if not is_disturbed(each) and not each.quick]
    assert calm == sorted(calm, reverse=True)
