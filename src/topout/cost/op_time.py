"""`OpTime`: how long an op takes on one machine, by what it waits for; and who can tell."""

from typing import Protocol

import msgspec

from topout.cost.ops import ElementSizes, Op
from topout.records import CostBound

ELEMENT_BYTES = {"fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0}
# 4 bits, and a 16-bit scale and zero point for each group of so many weights.
ELEMENT_BYTES |= {f"int4-g{group}": 0.5 + 4 / group for group in (32, 64, 128)}


class OpTime(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of all runs of an op: the slower of compute and memory, then what comes on top."""

    compute_s: float = 0.0
    memory_s: float = 0.0
    overhead_s: float = 0.0
    communication_s: float = 0.0

    @property
    def time_s(self) -> float:
        """max(compute, memory) + overhead + communication."""
        return max(self.compute_s, self.memory_s) + self.overhead_s + self.communication_s

    @property
    def bound(self) -> CostBound:
        """The largest of its parts."""
        parts: dict[CostBound, float] = {
            "compute": self.compute_s,
            "memory": self.memory_s,
            "overhead": self.overhead_s,
            "communication": self.communication_s,
        }
        return max(parts, key=lambda part: parts[part])


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What an op's time depends on beside the op: data types, and the data it stays among."""

    dtype: str  # of activations, and of the arithmetic unless weights and it are both int8
    weight_dtype: str
    kv_dtype: str
    working_set_bytes: float
    phase: str = "prefill"
    tensor_parallel: int = 1
    data_parallel: int = 1

    @property
    def sizes(self) -> ElementSizes:
        """Bytes of each kind of element."""
        return ElementSizes(
            activation=ELEMENT_BYTES[self.dtype],
            weight=ELEMENT_BYTES[self.weight_dtype],
            kv=ELEMENT_BYTES[self.kv_dtype],
        )


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How much faster or slower than expected everything may be: the ends of an interval.

    Factors on the expected compute rate, bandwidth, and overhead with communication.
    """

    compute: float = 1.0
    bandwidth: float = 1.0
    overhead: float = 1.0


class OpTimer(Protocol):
    """Predicts op times on one machine."""

    fast: Pace
    slow: Pace

    def missing(self, load: Load) -> str | None:
        """Why nothing can be predicted for this load, or None."""

    def time(self, op: Op, load: Load, pace: Pace) -> OpTime:
        """Seconds of all runs of `op`."""
