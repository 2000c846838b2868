"""A run: how fast a model is now, and with another matrix product in PyTorch's place."""

from topout.records.ceilings import Ceilings
from topout.records.climb import ModelSummary, PhaseResult, RunSample, Verification, WorkloadSummary
from topout.records.machine import Machine
from topout.records.measurement import Doubt, Estimate, PairedRatio
from topout.records.record import SCHEMA_VERSION, Record


class ProductCounts(Record, frozen=True, kw_only=True):
    """The matrix products of one generation: through the version, and left to PyTorch."""

    new_tokens: int  # of that generation
    routed: int
    passed: dict[str, int] = {}  # by reason: "bf16", "batched"
    copied: dict[str, int] = {}  # routed ones for which a matrix was copied, by matrix: "A", "C"


class RunResult(Record, frozen=True, kw_only=True):
    """One way to run the model: its phases placed under the ceilings, and its single runs."""

    name: str  # "pytorch", or the version or file in its place
    prefill: PhaseResult
    decode: PhaseResult
    ttft_s: Estimate
    peak_memory_bytes: int | None = None
    samples: list[RunSample] = []


class GemmSwap(Record, frozen=True, kw_only=True):
    """A matrix product in PyTorch's place: what it took over, whether it is right, how fast.

    `result` and the speedups are None where the output was not right or the version failed; the
    reason is in `reason`.
    """

    name: str
    source: str | None = None  # the user's own file
    counts: ProductCounts | None = None
    verification: Verification | None = None
    result: RunResult | None = None
    prefill_speedup: PairedRatio | None = None  # over PyTorch's own
    decode_speedup: PairedRatio | None = None
    speedup: PairedRatio | None = None  # of the whole workload
    reason: str | None = None  # why there is no result

    @property
    def passed(self) -> bool:
        """Whether it ran and its output was right."""
        return self.verification is not None and self.verification.passed and self.reason is None


class RunReport(Record, frozen=True, kw_only=True, tag_field="kind", tag="run"):
    """What `topout run` writes."""

    schema_version: int = SCHEMA_VERSION
    topout_version: str
    created_at: str
    elapsed_s: float
    machine: Machine
    ceilings: Ceilings | None = None
    model: ModelSummary
    workload: WorkloadSummary
    backend: str  # "decoder" or "transformers"
    weight_bytes: int
    result: RunResult  # with PyTorch's own matrix product
    gemm: GemmSwap | None = None
    findings: list[str] = []
    doubts: list[Doubt] = []
    reasons: dict[str, str] = {}

    @property
    def results(self) -> list[RunResult]:
        """PyTorch's own, and what was in its place where it was timed."""
        swapped = self.gemm.result if self.gemm is not None else None
        return [self.result, *([swapped] if swapped is not None else [])]
