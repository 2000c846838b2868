"""The rung that halves the bytes."""

from pathlib import Path

import torch

from tests.generation.tiny_builds import build_of
from tests.models.tiny import GPT2, make_source
from topout.cost.predict import Expectation
from topout.rungs.bf16 import Bf16


def test_it_loads_everything_in_bf16(tmp_path: Path) -> None:
    build = build_of(make_source(tmp_path, GPT2), tmp_path)
    assert Bf16().reason_to_skip(build) is None
    Bf16().configure(build)
    assert build.dtype == torch.bfloat16
    assert Bf16().expect(Expectation(weight_dtype="int8"), build) == Expectation(
        dtype="bf16", weight_dtype="int8"
    )
    assert Bf16.output_class == "near"


def test_a_baseline_in_bf16_leaves_nothing_to_do(tmp_path: Path) -> None:
    build = build_of(make_source(tmp_path, GPT2), tmp_path, dtype="bf16")
    reason = Bf16().reason_to_skip(build)
    assert reason is not None and "bf16 already" in reason
