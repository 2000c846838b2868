"""What ranks are told and tell: phases of steps, and lines that a crash cannot break."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.errors import InputError
from topout.records import TrainStep
from topout.train.plan import (
    LineWriter,
    Plan,
    RankRefused,
    StepDone,
    SumComparison,
    TrainRequest,
    line_file,
    read_lines,
)


def a_plan(**changes: Any) -> Plan:
    """A small plan of the tiny classifier."""
    fields: dict[str, Any] = {
        "model": "tiny",
        "random_weights": False,
        "builder": "tests.train.tiny_network:build",
        "task": "classify",
        "labels": 4,
        "samples": "samples",
        "output": "output",
        "traces": "traces",
        "steps": 9,
        "warmup_steps": 2,
        "profiled_steps": 2,
        "batch_size": 4,
        "accumulation": 1,
        "dtype": "fp32",
        "learning_rate": 0.1,
        "weight_decay": 0.0,
        "seed": 0,
        "threads": 1,
        "device": "cpu",
    }
    return Plan(**{**fields, **changes})


def a_step(number: int = 0, **changes: Any) -> TrainStep:
    fields: dict[str, Any] = {
        "number": number,
        "phase": "timed",
        "total_s": 1.0,
        "data_s": 0.1,
        "forward_s": 0.2,
        "backward_s": 0.4,
        "optimizer_s": 0.2,
        "loss": 1.5,
    }
    return TrainStep(**{**fields, **changes})


def test_the_step_in_which_the_profiler_warms_up_is_not_timed() -> None:
    phases = [a_plan().phase_of(step) for step in range(9)]
    assert phases == ["warmup"] * 2 + ["timed"] * 4 + ["profiled"] * 3
    without = a_plan(profiled_steps=0)
    assert [without.phase_of(step) for step in range(9)] == ["warmup"] * 2 + ["timed"] * 7


def test_lines_come_back_and_half_a_line_is_left_out(tmp_path: Path) -> None:
    lines = [StepDone(a_step()), SumComparison(0.5, 0.25), RankRefused("no")]
    writer = LineWriter(tmp_path, 3)
    for line in lines:
        writer.write(line)
    with line_file(tmp_path, 3).open("ab") as file:
        file.write(b'{"type":"step","step":{"num')
    assert read_lines(tmp_path, 3) == lines
    assert read_lines(tmp_path, 0) == []


def asked(**options: Any) -> TrainRequest:
    return TrainRequest(**{"model": "pycode-1m", "generated": True, **options})


def test_the_defaults_can_be_asked_for() -> None:
    asked().check()
    asked(quick=True).check()
    asked(profiled_steps=0, steps=3, warmup_steps=1).check()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"generated": False}, "neither"),
        ({"data": Path("x.csv")}, "both"),
        ({"task": "guess"}, "--task"),
        ({"dtype": "int8"}, "--dtype"),
        ({"device": "tpu"}, "--device"),
        ({"ranks": []}, "--ranks"),
        ({"ranks": [2, 2]}, "--ranks 2,2"),
        ({"ranks": [0]}, "--ranks 0"),
        ({"ranks": [5000]}, "--ranks 5000"),
        ({"batch_size": 0}, "--batch-size"),
        ({"accumulation": 0}, "--accumulate"),
        ({"sequence_len": 1}, "--sequence-len"),
        ({"threads": 0}, "--threads"),
        ({"learning_rate": 0.0}, "--learning-rate"),
        ({"learning_rate": float("nan")}, "--learning-rate"),
        ({"learning_rate": 1e38}, "--learning-rate"),
        ({"weight_decay": -1.0}, "--weight-decay"),
        ({"seed": -1}, "--seed"),
        ({"warmup_steps": 0}, "--warmup-steps"),
        ({"profiled_steps": -1}, "--profile-steps"),
        ({"steps": 5}, "Give --steps 6"),
    ],
)
def test_what_cannot_be_meant_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError) as caught:
        asked(**options).check()
    assert named in str(caught.value)


@given(steps=st.integers(1, 60))
def test_the_steps_of_all_phases_sum_to_all_steps(steps: int) -> None:
    request = asked(steps=steps)
    warming = 1 if request.profiled_count else 0
    phases = (request.warmup_count, request.timed_count, warming, request.profiled_count)
    assert sum(phases) == steps
