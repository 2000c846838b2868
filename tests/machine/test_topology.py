"""lscpu's three manners of writing caches, and sizes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.errors import InputError
from topout.machine.topology import (
    LogicalCpu,
    SystemFiles,
    parse_cpu_list,
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


def test_lines_of_lscpu() -> None:
    """A value may hold a colon; "-", nothing, and a line without a colon tell nothing."""
    text = "Model name: A: the CPU\nCPU(s): 8\nStepping: -\nFlags:\nwarning\nCPU(s): 9\n"
    assert parse_lscpu(text) == {"Model name": "A: the CPU", "CPU(s)": "8"}


def _write(root: Path, files: dict[str, str]) -> SystemFiles:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    return SystemFiles(root)


CPUS = "sys/devices/system/cpu"


def _cores(*siblings: str, package: str = "0") -> dict[str, str]:
    """sysfs of as many CPUs, each with the list of those on its core."""
    files: dict[str, str] = {}
    for number, text in enumerate(siblings):
        files[f"{CPUS}/cpu{number}/topology/core_cpus_list"] = text
        files[f"{CPUS}/cpu{number}/topology/physical_package_id"] = package
    return files


LSCPU = parse_lscpu(
    "CPU(s): 16\nOn-line CPU(s) list: 0-5\nThread(s) per core: 4\nCore(s) per socket: 3\n"
    "Socket(s): 2\nNUMA node(s): 5\nModel: -\n"
)


def test_what_sysfs_shows_goes_before_lscpu(tmp_path: Path) -> None:
    files = _cores("0-1", "0-1", "2", "3") | {f"{CPUS}/online": "0-2"}
    files |= {f"sys/devices/system/node/node{number}/cpulist": "0" for number in range(3)}
    found = read_topology(_write(tmp_path, files), LSCPU)
    assert found.cpus == [(0, 0, "0-1"), (1, 0, "0-1"), (2, 0, "2"), (3, 0, "3")]
    assert (found.online, found.sockets, found.physical_cores) == (3, 1, 3)
    assert (found.threads_per_core, found.numa_nodes) == (2, 3)


def test_without_a_list_of_those_online_all_that_are_described_count(tmp_path: Path) -> None:
    found = read_topology(_write(tmp_path, _cores("0", "1", "2", "3")), LSCPU)
    assert (found.online, found.physical_cores, found.threads_per_core) == (4, 4, 1)
    assert found.numa_nodes == 5
    garbled = _cores("0", "1") | {f"{CPUS}/online": "none"}
    assert read_topology(_write(tmp_path / "garbled", garbled), LSCPU).online == 2


def test_without_sysfs_lscpu_tells(tmp_path: Path) -> None:
    found = read_topology(SystemFiles(tmp_path), LSCPU)
    assert found.cpus == []
    # Six are in the list, of 16 that there are; 2 sockets of 3 cores.
    assert (found.online, found.sockets, found.physical_cores) == (6, 2, 6)
    assert (found.threads_per_core, found.numa_nodes) == (4, 5)
    unlisted = {name: text for name, text in LSCPU.items() if "list" not in name}
    assert read_topology(SystemFiles(tmp_path), unlisted).online == 16
    # On Arm cores come in clusters; without either they are not known.
    clusters = {"Core(s) per cluster": "4", "Cluster(s)": "3", "Core(s) per socket": "7"}
    assert read_topology(SystemFiles(tmp_path), clusters).physical_cores == 12
    nothing = read_topology(SystemFiles(tmp_path), {})
    assert nothing == ([], 0, None, None, None, None, [])


@pytest.mark.parametrize("text", ["0", "-3", "1234567", "٣", "two", ""])
def test_what_is_no_count_of_lscpu(text: str, tmp_path: Path) -> None:
    assert read_topology(SystemFiles(tmp_path), {"Socket(s)": text}).sockets is None
    assert read_topology(SystemFiles(tmp_path), {"Socket(s)": "123456"}).sockets == 123456


def test_cpus_that_are_offline_and_folders_that_are_no_cpu(tmp_path: Path) -> None:
    files = _cores("0", "1", "2", package="-1") | {f"{CPUS}/cpu11/hotplug/state": "0"}
    files |= {f"{CPUS}/cpu12/topology/thread_siblings_list": "12"}
    files |= {f"{CPUS}/cpu12/topology/physical_package_id": "1"}
    files |= {f"{CPUS}/cpu9x/topology/core_cpus_list": "9"}
    found = read_topology(_write(tmp_path, files), {})
    assert found.cpus == [(0, 0, "0"), (1, 0, "1"), (2, 0, "2"), (12, 1, "12")]
    assert (found.sockets, found.online) == (2, 4)


def _cache(cpu: int, index: int, **fields: str) -> dict[str, str]:
    folder = f"{CPUS}/cpu{cpu}/cache/index{index}"
    return {f"{folder}/{name}": text for name, text in fields.items()}


def test_caches_of_a_hybrid_processor(tmp_path: Path) -> None:
    """A fast core with two threads and an L2 of its own, four slow ones that share a smaller."""
    files = _cores("0-1", "0-1", "2", "3", "4", "5")
    for cpu in (0, 1):
        files |= _cache(cpu, 0, level="1", type="Data", size="48K", shared_cpu_list="0-1")
        files |= _cache(cpu, 1, type="Instruction", size="32K")  # of which level is not said
        files |= _cache(cpu, 2, level="2", type="Unified", size="1280K", shared_cpu_list="0-1")
    for cpu in (2, 3, 4, 5):
        files |= _cache(cpu, 0, level="1", type="Data", size="32K", coherency_line_size="64")
        files |= _cache(cpu, 1, level="1", type="Instruction", size="64K", shared_cpu_list="2-5")
        files |= _cache(
            cpu, 2, level="2", type="Unified", size="2048K", shared_cpu_list="2-5",
            coherency_line_size="128",
        )  # fmt: skip
        files |= _cache(cpu, 3, level="3", size="0K")
    caches = read_topology(_write(tmp_path, files), {}).caches
    assert [
        (each.name, each.size_bytes, each.line_bytes, each.shared_by_cpus, each.instances)
        for each in caches
    ] == [
        # Four of 32 KiB against one of 48; without a list each is its CPU's own.
        ("L1d", 32 << 10, 64, 1, 5),
        ("L1i", 64 << 10, None, 4, 1),
        # One of each size: the larger.
        ("L2", 2 << 20, 128, 4, 2),
    ]


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("0 KiB", []),
        ("12 apples", []),
        ("1K", [1024]),
        ("4 MiB", [4 << 20]),  # of all, over cores whose number is not known
    ],
)
def test_a_cache_of_lscpu_alone(text: str, sizes: list[int], tmp_path: Path) -> None:
    caches = read_topology(SystemFiles(tmp_path), {"L2 cache": text}).caches
    assert [(each.name, each.size_bytes, each.instances) for each in caches] == [
        ("L2", size, None) for size in sizes
    ]


def test_caches_of_lscpu_over_cores_and_sockets(tmp_path: Path) -> None:
    lscpu = parse_lscpu(
        "Core(s) per socket: 56\nSocket(s): 2\nL1d cache: 5.3 MiB (112 instances)\n"
        "L1i cache: 3.5 MiB\nL2 cache: 512K\nL3 cache: 210 MiB\nL4 cache: 1 GiB\n"
    )
    caches = read_topology(SystemFiles(tmp_path), lscpu).caches
    assert [(each.name, each.size_bytes, each.instances) for each in caches] == [
        ("L1d", 48 << 10, 112),  # 5.3 MiB / 112 is 48.5 KiB, in whole KiB
        ("L1i", 32 << 10, 112),  # of all 112 cores
        ("L2", 512 << 10, None),
        ("L3", 105 << 20, 2),  # of both sockets
        ("L4", 512 << 20, 2),
    ]


def test_cpus_in_the_order_in_which_threads_take_them() -> None:
    """Two sockets of two cores with two threads: cores of both in turn, then the siblings."""
    cpus = [LogicalCpu(n, n // 4, f"{n // 2}") for n in range(8)]
    assert spread_over_cores(cpus, list(range(8))) == [0, 4, 2, 6, 1, 5, 3, 7]
    assert spread_over_cores(cpus, [7, 6, 3, 1]) == [1, 6, 3, 7]
    # Two cores of three threads: the second thread of both before the third of any.
    threaded = [LogicalCpu(n, 0, f"{n // 3}") for n in range(6)]
    assert spread_over_cores(threaded, list(range(6))) == [0, 3, 1, 4, 2, 5]
    # Two sockets of three cores, in turn to the last.
    sockets = [LogicalCpu(n, n // 3, f"{n}") for n in range(6)]
    assert spread_over_cores(sockets, list(range(6))) == [0, 3, 1, 4, 2, 5]
    # What is not described is a core of its own, on the first socket.
    assert spread_over_cores([], [5, 2]) == [2, 5]
    assert spread_over_cores(cpus[4:], [0, 1, 4]) == [0, 4, 1]
    assert spread_over_cores(cpus[4:], [0, 1, 4, 6]) == [0, 4, 1, 6]


@given(st.text())
def test_garbled_lscpu_is_a_topology_with_gaps(text: str) -> None:
    topology = read_topology(SystemFiles(), parse_lscpu(text))
    assert topology.online >= 0


@given(st.lists(st.text(alphabet="0123456789.KMGiB ()instances-", max_size=30), max_size=6))
def test_garbled_counts_never_crash(values: list[str]) -> None:
    names = ["CPU(s)", "Socket(s)", "Core(s) per socket", "L1d cache", "L3 cache", "NUMA node(s)"]
    text = "\n".join(f"{name}: {value}" for name, value in zip(names, values, strict=False))
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


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0-3,8,10-11", [0, 1, 2, 3, 8, 10, 11]), ("", []), ("5", [5]), (" 1 , 0\n", [0, 1])],
)
def test_cpu_lists(text: str, cpus: list[int]) -> None:
    assert parse_cpu_list(text) == cpus


@given(st.sets(st.integers(0, 4096)))
def test_cpu_lists_of_single_numbers(cpus: set[int]) -> None:
    assert parse_cpu_list(",".join(map(str, cpus))) == sorted(cpus)


@given(st.text() | st.text(alphabet="0123456789-, "))
def test_garbage_is_an_input_error(text: str) -> None:
    try:
        cpus = parse_cpu_list(text)
    except InputError:
        return
    assert cpus == sorted(set(cpus))


@pytest.mark.parametrize("text", ["3-1", "a", "1-", "-1", "0-999999999", "²", "1--2"])
def test_what_is_no_cpu_list(text: str) -> None:
    with pytest.raises(InputError, match="CPU list"):
        parse_cpu_list(text)


def test_missing_and_garbled_files(tmp_path: Path) -> None:
    files = SystemFiles(tmp_path)
    (tmp_path / "garbled").write_bytes(b"\xff\xfe12")
    assert files.exists("garbled") and not files.exists("nothing")
    assert files.text("nothing") is None
    assert files.number("nothing") is None
    assert files.number("garbled") is None
    assert list(files.matches("nothing", "*")) == []
    assert files.text("bad\0name") is None
