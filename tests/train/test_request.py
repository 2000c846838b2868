"""What can be asked for, and what is refused with the option's name."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.errors import InputError
from topout.train.request import TrainRequest


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
