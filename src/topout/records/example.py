"""The worked examples of the roofline: counted on paper, foretold per machine, measured here."""

from typing import Literal

from topout.records.machine import Hardware
from topout.records.record import SCHEMA_VERSION, Doubt, Estimate, Record

ExampleName = Literal["axpy", "stencil", "matmul"]
Basis = Literal["measured", "published", "datasheet", "derived"]


class Traffic(Record, frozen=True, kw_only=True):
    """The bytes that an example moves under one assumption about caches and stores."""

    name: str  # "no cache", "perfect cache", "perfect cache, stores read first"
    bytes: float
    read_bytes: float  # of these; the rest is written
    bytes_sum: str  # the sum spelled out: "7 loads + 1 store of 8 bytes = 64 bytes a point"
    arithmetic_intensity: float  # FLOP/byte


class Example(Record, frozen=True, kw_only=True):
    """One example at one size, in doubles (8 bytes); 1 multiply-add = 2 FLOPs.

    `counted` names the traffic that predictions stand on: what main memory must move at least.
    """

    name: ExampleName
    title: str
    formula: str
    n: int
    size: str  # what n is, in words
    flops: float
    flops_sum: str
    working_set_bytes: int
    traffic: list[Traffic]
    counted: str
    notes: list[str] = []


class ExamplePrediction(Record, frozen=True, kw_only=True):
    """What the roofline allows one example whose bytes come from one memory level."""

    level: str
    traffic: str
    bytes_per_s: float
    basis: Basis  # where the bandwidth comes from
    ridge_point: float  # FLOP/byte
    attainable_flops_per_s: float
    time_s: float
    region: Literal["memory-bound", "compute-bound"]


class Crossover(Record, frozen=True, kw_only=True):
    """The n at which the n×n matmul turns compute-bound against main memory, for one peak."""

    dtype: str
    flops_per_s: float
    basis: Basis
    ridge_point: float  # FLOP/byte
    n_of_doubles: float  # matrices of doubles: 16 × ridge point
    n_of_dtype: float  # matrices of the type itself: 2 × bytes of an element × ridge point


class ExampleMachine(Record, frozen=True, kw_only=True):
    """An example on one machine: `level` is the nearest one that holds its working set."""

    name: str
    hardware: Hardware
    flops_per_s: float | None = None  # fp64 peak that the prediction uses
    flops_basis: Basis | None = None
    flops_note: str = ""
    level: str | None = None
    predictions: list[ExamplePrediction] = []  # every level, from the nearest, × every traffic
    crossovers: list[Crossover] = []  # of matmul
    reasons: dict[str, str] = {}


class MeasuredExample(Record, frozen=True, kw_only=True):
    """An example as it ran here; `samples_s` are the seconds of one pass, each of one trial."""

    name: ExampleName
    n: int
    host_key: str
    threads: int
    kernel: str  # "native daxpy", "torch float64 matmul"
    flops: float
    working_set_bytes: int
    samples_s: list[float]
    time_s: Estimate
    flops_per_s: Estimate
    largest_error: float  # of the checked pass against numpy, relative
    read_bytes_per_s: list[float] = []  # the ceiling at this working set, between the trials
    fp32_flops_per_s: list[float] = []  # the arithmetic ceiling, likewise
    doubts: list[Doubt] = []


class ExamplePlacement(Record, frozen=True, kw_only=True):
    """The measured example under this machine's measured roofs, its bytes counted one way.

    The roofs are those of the moment, measured between the trials, where they were; else the
    machine's ceilings on file.
    """

    traffic: str
    arithmetic_intensity: float
    bytes_per_s: float  # counted bytes over the median time
    read_bytes_per_s: float  # those of them that are read: ceilings are of reading
    ceiling_flops_per_s: float
    ceiling_bytes_per_s: float  # of reading the working set
    attainable_flops_per_s: float
    attained_share: float
    region: str


class ExampleReport(Record, frozen=True, kw_only=True, tag_field="kind", tag="example"):
    """What `topout cost example NAME` writes."""

    schema_version: int = SCHEMA_VERSION
    topout_version: str
    created_at: str
    example: Example
    machines: list[ExampleMachine] = []
    measured: MeasuredExample | None = None
    placements: list[ExamplePlacement] = []  # one per traffic
    findings: list[str] = []
    reasons: dict[str, str] = {}
