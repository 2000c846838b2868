"""What a machine is, as it describes itself."""

from topout.records.record import Record


class Cache(Record, frozen=True, kw_only=True):
    """One level of the cache hierarchy as one CPU sees it."""

    name: str  # "L1d", "L1i", "L2", "L3"
    size_bytes: int  # of one instance
    line_bytes: int | None = None
    shared_by_cpus: int | None = None  # logical CPUs that share one instance
    instances: int | None = None


class Gpu(Record, frozen=True, kw_only=True):
    """One accelerator."""

    name: str
    memory_bytes: int
    driver: str | None = None
    compute_capability: str | None = None
    clock_max_hz: float | None = None


class Compiler(Record, frozen=True, kw_only=True):
    """The C++ compiler that native parts are built with."""

    path: str
    version: str


class TorchBuild(Record, frozen=True, kw_only=True):
    """The installed PyTorch."""

    version: str
    cpu_capability: str | None = None
    blas: str | None = None
    cuda: str | None = None


class Machine(Record, frozen=True, kw_only=True):
    """What this machine is; `host_key` changes when anything changes that a ceiling depends on."""

    host_key: str
    hostname: str
    os: str
    kernel: str
    architecture: str  # "x86_64", "aarch64"
    cpu_model: str
    cpu_vendor: str | None = None
    sockets: int | None = None
    physical_cores: int | None = None
    logical_cpus: int
    threads_per_core: int | None = None
    usable_cpus: int  # after affinity mask and container quota
    numa_nodes: int | None = None
    caches: list[Cache] = []
    vector_isa: list[str] = []  # e.g. ["avx2", "fma", "avx512f", "avx512_vnni"], weakest first
    clock_base_hz: float | None = None
    clock_max_hz: float | None = None
    memory_bytes: int
    page_bytes: int
    transparent_huge_pages: str | None = None  # "always", "madvise", "never"
    hypervisor: str | None = None
    hardware_counters: bool | None = None
    gpus: list[Gpu] = []
    compiler: Compiler | None = None
    torch: TorchBuild | None = None
    reasons: dict[str, str] = {}
