"""Weights, activations and KV cache in bfloat16."""

import torch

from topout.cost.predict import Expectation
from topout.generation.build import Build
from topout.rungs.rung import Rung


class Bf16(Rung):
    """Half the bytes per weight, 8 bits of mantissa."""

    name = "bf16"
    change = "weights, activations and KV cache in bf16: half the bytes of fp32"
    tasks = ("generate", "forward")
    output_class = "near"

    def reason_to_skip(self, build: Build) -> str | None:
        """The baseline may be in bf16 already."""
        if build.workload.dtype == "bf16":
            return "the baseline is in bf16 already"
        return None

    def expect(self, expectation: Expectation, build: Build) -> Expectation:
        """Half the bytes, and the matrix rate of bf16."""
        return expectation.replace(dtype="bf16")

    def configure(self, build: Build) -> None:
        """Load everything in bf16."""
        build.dtype = torch.bfloat16
