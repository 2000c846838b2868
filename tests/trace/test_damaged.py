"""No figure of a damaged trace is beyond the wall time of what was recorded."""

import json
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.cases import case_of
from tests.fuzz.clocks import TARGETS, ask, seeds
from tests.trace.damage import RAW, beyond, damaged, extent_s
from topout.trace.analysis.groups import load_rules
from topout.trace.analysis.report import analyse
from topout.trace.readers.read import read_trace

RULES = load_rules()
SEEDS = [seed.files[seed.damaged] for seed in seeds()]


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(SEEDS), st.randoms(use_true_random=False))
def test_no_figure_is_beyond_what_was_recorded(whole: bytes, random: Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        path.write_bytes(damaged(whole, random))
        report = analyse([read_trace(path)], RULES)
    assert beyond(report, extent_s(whole)) == []
    assert report.doubts


@pytest.mark.parametrize("whole", SEEDS)
def test_an_undamaged_trace_has_no_doubt_of_its_events(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_bytes(whole)
    trace = read_trace(path)
    assert trace.doubts == ()
    assert beyond(analyse([trace], RULES), extent_s(whole)) == []


def test_the_check_sees_a_figure_that_is_beyond(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_bytes(SEEDS[0])
    report = analyse([read_trace(path)], RULES)
    found = beyond(report, report.ranks[0].wall_s / 2)
    assert any(place.startswith(".ranks[0].wall_s") for place in found)


def test_damages_are_what_they_say() -> None:
    """Each case differs, keeps all events and damages one to three."""
    whole = json.loads(SEEDS[0])
    for number in range(50):
        text = damaged(SEEDS[0], Random(number))
        assert RAW.encode() not in text
        found = json.loads(text.replace(b"1e400", b"1e300"))
        changed = [
            one
            for one, other in zip(whole["traceEvents"], found["traceEvents"], strict=True)
            if json.dumps(one) != json.dumps(other)
        ]
        assert 0 < len(changed) <= 3


def test_cases_of_the_fuzz_target_are_clean_and_see_a_reader_that_is_fooled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        case = case_of(number, TARGETS)
        ask(case.write(tmp_path / str(number)))
    monkeypatch.setattr("topout.trace.readers.read.plausible", lambda trace: trace)
    fooled = 0
    for number in range(10):
        try:
            ask(tmp_path / str(number))
        except (AssertionError, TypeError, ValueError):
            fooled += 1
    assert fooled >= 5
