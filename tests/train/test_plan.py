"""What ranks are told and tell: phases of steps, and lines that a crash cannot break."""

from pathlib import Path
from typing import Any

from topout.records import TrainStep
from topout.train.plan import (
    LineWriter,
    Plan,
    RankRefused,
    StepDone,
    SumComparison,
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
