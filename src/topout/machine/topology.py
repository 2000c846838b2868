"""Which CPUs, cores, sockets, nodes and caches there are, and how much of them may be used.

/proc and /sys are read under any root, so that a recorded machine is read like this one.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from topout.errors import InputError
from topout.records import Cache

_MOST_CPUS = 1 << 16  # more is a misread file, and would fill the memory
_CPU_FOLDER = "sys/devices/system/cpu"
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

# v1 writes "no limit" as the largest multiple of a page that fits 63 bits.
_NO_LIMIT_BYTES = 1 << 60


class SystemFiles:
    """The files of a machine below `root`; what is missing or unreadable is None."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def text(self, path: str) -> str | None:
        """The content of a file, without the final newline."""
        try:
            return (self.root / path).read_text(errors="replace").strip("\n")
        except (OSError, ValueError):
            return None

    def number(self, path: str) -> int | None:
        """The content of a file that holds one whole number."""
        text = self.text(path)
        try:
            return None if text is None else int(text)
        except ValueError:
            return None

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return (self.root / path).exists()

    def matches(self, folder: str, pattern: str) -> Iterator[str]:
        """Paths below the root of what in `folder` matches `pattern`, in order."""
        try:
            found = sorted((self.root / folder).glob(pattern))
        except OSError:
            return
        yield from (str(path.relative_to(self.root)) for path in found)


def parse_cpu_list(text: str) -> list[int]:
    """CPU numbers of a kernel list such as "0-3,8,10-11", ascending, each once.

    Raises InputError when the text is no such list.
    """
    cpus: set[int] = set()
    for part in filter(None, (piece.strip() for piece in text.strip().split(","))):
        first, dash, last = part.partition("-")
        if not (_is_number(first) and (not dash or _is_number(last))):
            raise InputError(f"{text[:80]!r} is not a CPU list.", 'Write it as in "0-3,8".')
        low, high = int(first), int(last) if dash else int(first)
        if high < low or high > _MOST_CPUS:
            raise InputError(f"{text[:80]!r} is not a CPU list.", 'Write it as in "0-3,8".')
        cpus.update(range(low, high + 1))
    return sorted(cpus)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


class LogicalCpu(NamedTuple):
    """One CPU as the scheduler counts them; CPUs of one core have the same `core`."""

    number: int
    package: int
    core: str


class Topology(NamedTuple):
    """Counts that are not known are None; `cpus` is empty where the kernel shows none."""

    cpus: list[LogicalCpu]
    online: int
    sockets: int | None
    physical_cores: int | None
    threads_per_core: int | None
    numa_nodes: int | None
    caches: list[Cache]


def parse_lscpu(text: str) -> dict[str, str]:
    """The fields of `lscpu`'s output, "-" and empty ones left out."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and value.strip() not in ("", "-"):
            fields.setdefault(name.strip(), value.strip())
    return fields


def parse_size(text: str) -> int | None:
    """A size as sysfs and lscpu write it ("48K", "1.5 MiB", "512") in bytes; None if it is none."""
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]+)?)\s*([kmg]?)(?:i?b)?", text.strip().lower())
    return round(float(match[1]) * _UNITS[match[2]]) if match else None


def read_topology(files: SystemFiles, lscpu: dict[str, str]) -> Topology:
    """The topology from sysfs; what it does not show comes from `lscpu`."""
    cpus = _read_cpus(files)
    nodes = list(files.matches("sys/devices/system/node", "node[0-9]*"))
    cores = len({cpu.core for cpu in cpus}) or _product(lscpu)
    sockets = len({cpu.package for cpu in cpus}) or _count(lscpu, "Socket(s)")
    per_core = Counter(cpu.core for cpu in cpus)
    threads = max(per_core.values(), default=0) or _count(lscpu, "Thread(s) per core")
    online = len(_list(files.text(f"{_CPU_FOLDER}/online"))) or len(cpus)
    online = online or len(_list(lscpu.get("On-line CPU(s) list")))
    return Topology(
        cpus=cpus,
        online=online or _count(lscpu, "CPU(s)") or 0,
        sockets=sockets,
        physical_cores=cores,
        threads_per_core=threads,
        numa_nodes=len(nodes) or _count(lscpu, "NUMA node(s)"),
        caches=_read_caches(files, cpus) or _caches_of_lscpu(lscpu, cores, sockets),
    )


def spread_over_cores(cpus: list[LogicalCpu], allowed: list[int]) -> list[int]:
    """The allowed CPUs in the order threads should take them.

    First one CPU of each core, sockets in turn, then their SMT siblings: n threads get n cores
    and every memory controller as long as there are any.
    """
    known = {cpu.number: cpu for cpu in cpus}
    within_core: Counter[str] = Counter()
    within_package: Counter[tuple[int, int]] = Counter()
    places: list[tuple[int, int, int, int]] = []
    for number in sorted(allowed):
        cpu = known.get(number, LogicalCpu(number, 0, f"{number}"))
        sibling = within_core[cpu.core]
        turn = within_package[(cpu.package, sibling)]
        places.append((sibling, turn, cpu.package, number))
        within_core[cpu.core] += 1
        within_package[(cpu.package, sibling)] += 1
    return [number for *_, number in sorted(places)]


def _read_cpus(files: SystemFiles) -> list[LogicalCpu]:
    """The online CPUs that sysfs describes."""
    cpus: list[LogicalCpu] = []
    for path in files.matches(_CPU_FOLDER, "cpu[0-9]*"):
        number = path.rsplit("cpu", 1)[1]
        core = files.text(f"{path}/topology/core_cpus_list") or files.text(
            f"{path}/topology/thread_siblings_list"
        )
        if not number.isdigit() or core is None:  # an offline CPU has no topology
            continue
        # Some virtual machines give −1: one package then.
        package = max(0, files.number(f"{path}/topology/physical_package_id") or 0)
        cpus.append(LogicalCpu(int(number), package, core))
    return sorted(cpus)


def _read_caches(files: SystemFiles, cpus: list[LogicalCpu]) -> list[Cache]:
    """One record per cache name; on hybrid CPUs the size most instances have, else the largest."""
    instances: dict[str, set[tuple[str, int, int | None]]] = {}
    for cpu in cpus:
        for path in files.matches(f"{_CPU_FOLDER}/cpu{cpu.number}/cache", "index[0-9]*"):
            level, kind = files.number(f"{path}/level"), files.text(f"{path}/type") or ""
            size = parse_size(files.text(f"{path}/size") or "")
            if level is None or not size:
                continue
            name = f"L{level}{ {'Data': 'd', 'Instruction': 'i'}.get(kind, '') }"
            shared = files.text(f"{path}/shared_cpu_list") or str(cpu.number)
            line = files.number(f"{path}/coherency_line_size")
            instances.setdefault(name, set()).add((shared, size, line))
    return [_cache_of(name, found) for name, found in sorted(instances.items())]


def _cache_of(name: str, found: set[tuple[str, int, int | None]]) -> Cache:
    size = Counter(sorted((size for _, size, _ in found), reverse=True)).most_common(1)[0][0]
    shared, _, line = min(one for one in found if one[1] == size)
    return Cache(
        name=name,
        size_bytes=size,
        line_bytes=line,
        shared_by_cpus=len(_list(shared)) or None,
        instances=len(found),
    )


def _caches_of_lscpu(lscpu: dict[str, str], cores: int | None, sockets: int | None) -> list[Cache]:
    """Caches as lscpu prints them, in the three manners of its versions.

    "32K" (before 2.34) is one instance; "96 KiB (2 instances)" (from 2.37 on) is all of them;
    "96 KiB" in between is all of them too, over cores for L1 and L2 and over sockets for L3.
    """
    caches: list[Cache] = []
    for name in ("L1d", "L1i", "L2", "L3", "L4"):
        match = re.fullmatch(
            r"([0-9.]+ ?[A-Za-z]+)(?: \(([0-9]{1,6}) instances?\))?", lscpu.get(f"{name} cache", "")
        )
        size = parse_size(match[1]) if match else None
        if match is None or not size:
            continue
        instances: int | None = int(match[2]) if match[2] else None
        if instances is None and match[1].endswith("iB"):
            instances = sockets if name in ("L3", "L4") else cores
            size //= instances or 1
        elif instances:
            size //= instances
        # The sum was rounded for show ("5.3 MiB" for 112 × 48 KiB); one instance is whole KiB.
        size = max(1, round(size / 1024)) * 1024
        caches.append(Cache(name=name, size_bytes=size, instances=instances))
    return caches


def _list(text: str | None) -> list[int]:
    """The CPUs of a list; none when it is absent or garbled."""
    try:
        return parse_cpu_list(text or "")
    except InputError:
        return []


def _count(lscpu: dict[str, str], field: str) -> int | None:
    """A positive count among lscpu's fields."""
    text = lscpu.get(field, "")
    return int(text) or None if text.isascii() and text.isdigit() and len(text) < 7 else None


def _product(lscpu: dict[str, str]) -> int | None:
    """Physical cores as lscpu counts them: per socket, or per cluster on Arm."""
    for per, of in (("Core(s) per socket", "Socket(s)"), ("Core(s) per cluster", "Cluster(s)")):
        each, number = _count(lscpu, per), _count(lscpu, of)
        if each and number:
            return each * number
    return None


class Limits(NamedTuple):
    """`allowed_cpus` is None where no mask is known; the other two where there is no limit."""

    allowed_cpus: list[int] | None
    cpu_quota: float | None  # CPUs' worth of time
    memory_bytes: int | None


def read_limits(files: SystemFiles) -> Limits:
    """The limits that the kernel applies to this process, those of all parent groups included."""
    groups = _groups(files)
    quotas: list[float] = []
    memories: list[int] = []
    for folder in groups:
        quotas += filter(None, [_quota_v2(files, folder), _quota_v1(files, folder)])
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = files.number(f"{folder}/{name}")
            if limit is not None and 0 < limit < _NO_LIMIT_BYTES:
                memories.append(limit)
    return Limits(_allowed_cpus(files), min(quotas, default=None), min(memories, default=None))


def _allowed_cpus(files: SystemFiles) -> list[int] | None:
    for line in (files.text("proc/self/status") or "").splitlines():
        if line.startswith("Cpus_allowed_list:"):
            try:
                return parse_cpu_list(line.partition(":")[2]) or None
            except InputError:
                return None
    return None


def _groups(files: SystemFiles) -> list[str]:
    """Folders of this process's control groups and of all their parents.

    Inside a container the path is often the host's and the mount is the container's own group,
    so the folder of the mount itself is always among them.
    """
    folders: list[str] = []
    for line in (files.text("proc/self/cgroup") or "0::/").splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3 or ".." in parts[2].split("/"):
            continue
        controllers, path = parts[1], parts[2].strip("/")
        mounts = (
            [f"sys/fs/cgroup/{controllers}"]
            if controllers
            else ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        )
        steps = path.split("/") if path else []
        for mount in mounts:
            folders += ["/".join([mount, *steps[:n]]) for n in range(len(steps) + 1)]
    return folders


def _quota_v2(files: SystemFiles, folder: str) -> float | None:
    quota, _, period = (files.text(f"{folder}/cpu.max") or "").partition(" ")
    if not (quota.isascii() and quota.isdigit() and period.isascii() and period.isdigit()):
        return None  # "max 100000" is no limit
    return int(quota) / int(period) if int(period) else None


def _quota_v1(files: SystemFiles, folder: str) -> float | None:
    quota = files.number(f"{folder}/cpu.cfs_quota_us") or -1
    period = files.number(f"{folder}/cpu.cfs_period_us") or 0
    return quota / period if quota > 0 and period > 0 else None
