"""The harness sees what it looks for, and a slice of its cases finds nothing."""

import math

import pytest

from tests.fuzz import mutators
from tests.fuzz.cases import case_of
from tests.fuzz.command_line import run_commands
from tests.fuzz.harness import Findings, run_cases
from tests.fuzz.targets import TARGETS

SLICE = range(0, 20_000, 71)  # 282 of the cases of `make fuzz`, of every target
COMMANDS = (40, 51, 62, 66)  # a config, a trace, a table, a database
TURNS = sum(target.weight for target in TARGETS)
PLANTED = "tests.fuzz.planted"


def test_a_slice_of_the_corrupted_inputs_is_refused_or_read() -> None:
    """Hangs are not looked for here, where a busy machine may take long."""
    findings = run_cases(SLICE, hang_s=600.0)
    assert findings.is_clean, "\n".join(findings.lines())
    assert findings.cases == len(SLICE)


def test_some_of_them_through_the_command_end_with_a_documented_status() -> None:
    findings = Findings()
    run_commands(COMMANDS, findings)
    assert findings.is_clean, "\n".join(findings.lines())
    assert findings.cases == len(COMMANDS)


def test_every_target_comes_up_in_the_slice() -> None:
    assert math.gcd(TURNS, SLICE.step) == 1
    assert {case_of(number).target.name for number in SLICE} == {each.name for each in TARGETS}


def test_a_case_is_the_same_each_time() -> None:
    for number in range(TURNS):
        one, other = case_of(number), case_of(number)
        assert (one.what, one.files) == (other.what, other.files)
    assert len({case_of(number).files[case_of(number).damaged] for number in range(200)}) > 190


@pytest.mark.parametrize("target", TARGETS, ids=lambda each: each.name)
def test_a_mutator_gives_bytes_of_anything(target) -> None:
    from random import Random

    for mutate in {*target.mutators, *mutators.JSON, *mutators.TABLE}:
        for data in (b"", b"\xff", b"{", b'{"a": [1, {"b": 2}]}', b"a,b\n1,2\n"):
            assert isinstance(mutate(data, Random(1)), bytes)


@pytest.mark.parametrize(
    ("reader", "place"),
    [
        ("RAISES", "KeyError at tests/fuzz/planted.py"),
        ("PANICS", "BaseException at tests/fuzz/planted.py"),
    ],
)
def test_a_reader_that_raises_is_told_with_its_place(reader: str, place: str) -> None:
    findings = run_cases(range(3), f"{PLANTED}:{reader}")
    (told,) = findings.tracebacks.items()
    assert told[0].startswith(place) and told[1] == [0, 1, 2]
    assert not findings.is_clean and "3 tracebacks at 1 places" in findings.lines()[0]


def test_a_reader_that_hangs_is_ended_and_the_next_case_runs() -> None:
    findings = run_cases(range(2), f"{PLANTED}:HANGS", hang_s=0.5)
    assert (findings.hangs, findings.cases) == ([0, 1], 2)
    assert "2 hangs" in findings.lines()[0]


def test_a_reader_that_dies_is_told_and_the_next_case_runs() -> None:
    findings = run_cases(range(2), f"{PLANTED}:DIES")
    assert (findings.crashes, findings.cases) == ([0, 1], 2)
    assert "exit status 11" in findings.what[0]


def test_a_reader_that_eats_memory_is_told() -> None:
    findings = run_cases(range(1), f"{PLANTED}:EATS_MEMORY")
    assert findings.large == [0] and findings.peak_bytes > 1 << 30


def test_control_characters_that_are_shown_are_told() -> None:
    assert run_cases(range(1), f"{PLANTED}:SHOWS").control == [0]


def test_a_refusal_is_no_finding() -> None:
    findings = run_cases(range(5), f"{PLANTED}:GOOD")
    assert findings.is_clean and findings.cases == 5
