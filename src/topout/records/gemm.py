"""What `topout gemm` writes: versions of a matrix product and their rivals, checked and timed."""

from typing import Literal

from topout.records.machine import Ceilings, Machine
from topout.records.record import SCHEMA_VERSION, Bound, Doubt, Estimate, PairedRatio, Record

GemmDtype = Literal["fp32", "bf16", "int8"]
GemmStatus = Literal["measured", "failed", "skipped"]
TrafficSource = Literal["blocking", "cachegrind", "counters"]


class LevelTraffic(Record, frozen=True, kw_only=True):
    """Bytes that come into a level of the memory hierarchy, of one product."""

    level: str  # "registers", "L1", "L2", "L3": what is brought into it from the next one
    bytes: float
    source: TrafficSource


class InstructionMix(Record, frozen=True, kw_only=True):
    """Instructions of the innermost loop that does the arithmetic, from the disassembly."""

    function: str
    multiply_adds: int  # vector instructions that multiply and add, in one turn of the loop
    loads: int  # memory operands read
    stores: int
    others: int
    vector_bits: int
    stack_references: int  # of vector registers: accumulators that were spilled
    per_multiply_add: float  # instructions in the loop per multiply-add


class GemmExplanation(Record, frozen=True, kw_only=True):
    """Why a version is as fast as it is; what could not be had stands in `reasons`."""

    traffic: list[LevelTraffic] = []
    instructions: InstructionMix | None = None
    events: dict[str, float] = {}  # counted by the hardware around one product: "cycles", …
    sentences: list[str] = []
    reasons: dict[str, str] = {}


class GemmResult(Record, frozen=True, kw_only=True):
    """One version or rival at one shape; ratios come from rounds in which all ran in turns."""

    name: str
    status: GemmStatus
    reason: str | None = None  # why it is not measured
    packed_ahead: bool = False  # B was packed before the clock started
    samples_s: list[float] = []  # seconds of one product, one per round
    flops_per_s: Estimate | None = None
    of_ceiling: float | None = None  # of the FMA rate measured in the same rounds
    error_of_bound: float | None = None  # largest error over its fp64 bound; above 1 it fails
    over_previous: PairedRatio | None = None  # speedup over the step before it
    over_naive: PairedRatio | None = None
    over_best_rival: PairedRatio | None = None  # of those packed ahead, or not, as it is itself
    parallel_efficiency: float | None = None  # speedup over one thread / threads
    explanation: GemmExplanation | None = None


class GemmShape(Record, frozen=True, kw_only=True):
    """One product [m×k]·[k×n] on so many threads: its place on the roofline, and who did it how."""

    m: int
    n: int
    k: int
    dtype: GemmDtype
    threads: int
    label: str = ""  # what it is in the model: "attention.qkv"
    calls: int = 1  # of one forward pass
    flops: int
    arithmetic_intensity: float  # FLOP per byte when each of A, B and C moves once
    bound: Bound
    ceiling_flops_per_s: Estimate | None = None  # FMA (bf16, int8: dot product) rate in the rounds
    read_bytes_per_s: Estimate | None = None  # DRAM read bandwidth in the rounds
    versions: list[GemmResult] = []
    rivals: list[GemmResult] = []
    reasons: dict[str, str] = {}


class GemmReport(Record, frozen=True, kw_only=True, tag_field="kind", tag="gemm"):
    """What `topout gemm` writes."""

    schema_version: int = SCHEMA_VERSION
    topout_version: str
    created_at: str  # ISO 8601, UTC
    machine: Machine
    ceilings: Ceilings | None = None
    threads: int  # the most that were asked for
    thread_counts: list[int]
    model: str | None = None
    dtype_origin: str = ""  # why the model's products are in their type: "as published"
    source: str | None = None  # the user's own file
    shapes: list[GemmShape] = []
    findings: list[str] = []
    doubts: list[Doubt] = []
    reasons: dict[str, str] = {}
    elapsed_s: float = 0.0
    finished: bool = True  # false when it was interrupted
