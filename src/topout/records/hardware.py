"""`Hardware`: what a machine can reach, from a datasheet or measured; predictions stand on it."""

from typing import Literal

from topout.records.ceilings import Ceilings, Rates
from topout.records.record import SCHEMA_VERSION, Record

PeakDtype = Literal["fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "int8", "int4"]
LinkKind = Literal["nvlink", "infinity_fabric", "pcie", "infiniband", "ethernet", "socket"]


class ComputePeak(Record, frozen=True, kw_only=True):
    """Arithmetic rates of one data type, dense (no sparsity); int types: OP/s.

    `spec` is what the maker states (or what follows from its clock and units), `achievable` what
    somebody measured with a large matrix multiplication. A source is a document, and a URL where
    there is one; it is there whenever its figure is.
    """

    dtype: PeakDtype
    unit: Literal["vector", "matrix"]  # CUDA cores, SIMD; or tensor cores, AMX
    spec_flops_per_s: float | None = None
    spec_source: str | None = None
    achievable_flops_per_s: float | None = None
    achievable_source: str | None = None


class MemoryLevel(Record, frozen=True, kw_only=True):
    """One level of the memory hierarchy: its capacity and read bandwidth, of all cores together."""

    name: str  # "L1", "L2", "L3", "HBM", "DRAM"
    capacity_bytes: int | None = None
    spec_bytes_per_s: float | None = None
    spec_source: str | None = None
    achievable_bytes_per_s: float | None = None
    achievable_source: str | None = None


class Link(Record, frozen=True, kw_only=True):
    """A link between devices: bytes per second that one device sends, in one direction."""

    name: str  # "NVLink 3", "PCIe 4.0 x16", "InfiniBand HDR"
    kind: LinkKind
    devices: int | None = None  # the most devices that it joins
    spec_bytes_per_s: float | None = None
    spec_source: str | None = None
    achievable_bytes_per_s: float | None = None
    achievable_source: str | None = None
    latency_s: float | None = None  # α: of one message, as collectives see it
    latency_source: str | None = None


class Hardware(Record, frozen=True, kw_only=True, tag_field="kind", tag="hardware"):
    """One device (or one CPU machine) on which a model may run.

    `levels` go from the nearest to the cores to main memory, which is last. A figure that is
    absent is None, and `reasons` says why under a dotted path ("compute.fp8", "links").
    Own machines carry what was measured on them: `ceilings` and `rates`.
    """

    schema_version: int = SCHEMA_VERSION
    name: str  # "a100-80gb"
    full_name: str  # "NVIDIA A100-SXM4-80GB"
    device: Literal["gpu", "cpu"]
    vendor: str
    released: str | None = None  # year
    cores: int | None = None  # physical cores, streaming multiprocessors, compute units
    clock_hz: float | None = None  # boost of a GPU, all-core turbo of a CPU
    power_w: float | None = None
    source: str | None = None  # of cores, clock, power and the capacities of caches
    reported_names: list[str] = []  # as drivers and /proc/cpuinfo spell it
    memory_bytes: int
    memory_source: str | None = None
    compute: list[ComputePeak] = []
    levels: list[MemoryLevel] = []
    links: list[Link] = []
    notes: str = ""
    ceilings: Ceilings | None = None
    rates: list[Rates] = []
    reasons: dict[str, str] = {}
