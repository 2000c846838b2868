"""lscpu's three manners of writing caches, and sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.machine.recorded_files import SystemFiles
from topout.machine.topology import (
    LogicalCpu,
    parse_lscpu,
    parse_size,
    read_topology,
    spread_over_cores,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("48K", 49152), ("1.5 MiB", 1572864), ("32768K", 32 << 20), ("512", 512), ("2 GiB", 2 << 30)],
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "K", "-1K", "3 apples", "1e9", "١K", "9" * 40])
def test_no_sizes(text: str) -> None:
    assert parse_size(text) is None


@pytest.mark.parametrize(
    ("line", "kibibytes", "instances"),
    [
        ("L2 cache: 256K", 256, None),  # before 2.34: of one instance
        ("L2 cache: 4 MiB", 1024, 4),  # 2.34 to 2.36: of all, here four cores
        ("L2 cache: 4 MiB (4 instances)", 1024, 4),
        ("L2 cache: 512 KiB (1 instance)", 512, 1),
    ],
)
def test_caches_of_lscpu(
    line: str, kibibytes: int, instances: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = f"CPU(s): 8\nCore(s) per socket: 4\nSocket(s): 1\n{line}\n"
    empty = SystemFiles(tmp_path_factory.mktemp("root"))
    cache = read_topology(empty, parse_lscpu(text)).caches[0]
    assert (cache.size_bytes, cache.instances) == (kibibytes * 1024, instances)


@given(st.text())
def test_garbled_lscpu_is_a_topology_with_gaps(text: str) -> None:
    topology = read_topology(SystemFiles(), parse_lscpu(text))
    assert topology.online >= 0


@given(st.lists(st.text(alphabet="0123456789.KMGiB ()instances-", max_size=30), max_size=6))
def test_garbled_counts_never_crash(values: list[str]) -> None:
    names = ["CPU(s)", "Socket(s)", "Core(s) per socket", "L1d cache", "L3 cache", "NUMA node(s)"]
    text = "\n".join(f"{name}: {value}" for name, value in zip(names, values, strict=False))
    from pathlib import Path

    topology = read_topology(SystemFiles(Path("/nonexistent")), parse_lscpu(text))
    assert all(cache.size_bytes > 0 for cache in topology.caches)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=40),
    st.randoms(),
)
def test_the_pinning_order_takes_each_allowed_cpu_once_and_cores_first(
    places: list[tuple[int, int]], random: object
) -> None:
    cpus = [LogicalCpu(i, package, f"{package}:{core}") for i, (package, core) in enumerate(places)]
    order = spread_over_cores(cpus, list(range(len(cpus))))
    assert sorted(order) == list(range(len(cpus)))
    cores = len({cpu.core for cpu in cpus})
    assert len({cpus[i].core for i in order[:cores]}) == cores
