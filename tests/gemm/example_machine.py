"""Machines with round caches, for what is computed from them."""

from topout.records.machine import Cache, Machine


def machine(
    *,
    l1: int = 32 << 10,
    l2: int = 1 << 20,
    l3: int | None = 32 << 20,
    isa: tuple[str, ...] = ("avx", "fma", "avx2"),
    architecture: str = "x86_64",
    hardware_counters: bool | None = False,
) -> Machine:
    """Two cores that share the third level."""
    caches = [
        Cache(name="L1d", size_bytes=l1, line_bytes=64, shared_by_cpus=1, instances=2),
        Cache(name="L1i", size_bytes=l1, line_bytes=64, shared_by_cpus=1, instances=2),
        Cache(name="L2", size_bytes=l2, line_bytes=64, shared_by_cpus=1, instances=2),
    ]
    if l3 is not None:
        caches.append(Cache(name="L3", size_bytes=l3, line_bytes=64, shared_by_cpus=2))
    return Machine(
        host_key="0123456789abcdef",
        hostname="example",
        os="Linux",
        kernel="6",
        architecture=architecture,
        cpu_model="An example",
        logical_cpus=2,
        usable_cpus=2,
        threads_per_core=1,
        caches=caches,
        vector_isa=list(isa),
        memory_bytes=1 << 34,
        page_bytes=4096,
        hardware_counters=hardware_counters,
    )
