"""How much of the machine this process may use: affinity mask and container limits."""

from typing import NamedTuple

from topout.errors import InputError
from topout.machine.recorded_files import SystemFiles, parse_cpu_list

# v1 writes "no limit" as the largest multiple of a page that fits 63 bits.
_NO_LIMIT_BYTES = 1 << 60


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
