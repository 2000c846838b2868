"""Limits of containers and batch systems, control groups of both versions."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from topout.machine.topology import SystemFiles, read_limits


def root_with(folder: Path, files: dict[str, str]) -> SystemFiles:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return SystemFiles(folder)


def test_the_tightest_group_on_the_way_up_counts(tmp_path: Path) -> None:
    files = root_with(
        tmp_path,
        {
            "proc/self/cgroup": "0::/slurm/job_7/step_0\n",
            "sys/fs/cgroup/slurm/cpu.max": "1600000 100000\n",
            "sys/fs/cgroup/slurm/job_7/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/slurm/job_7/step_0/cpu.max": "max 100000\n",
            "sys/fs/cgroup/slurm/job_7/memory.max": "8589934592\n",
            "sys/fs/cgroup/slurm/job_7/step_0/memory.max": "max\n",
        },
    )
    limits = read_limits(files)
    assert limits.cpu_quota == 4.0
    assert limits.memory_bytes == 8 << 30
    assert limits.allowed_cpus is None


def test_version_1_writes_no_limit_as_a_huge_one(tmp_path: Path) -> None:
    files = root_with(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    limits = read_limits(files)
    assert limits.memory_bytes is None
    assert limits.cpu_quota == 2.5


def test_version_1_without_quota(tmp_path: Path) -> None:
    files = root_with(
        tmp_path,
        {
            "proc/self/cgroup": "3:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    )
    assert read_limits(files).cpu_quota is None


def test_the_cpus_that_a_process_may_use(tmp_path: Path) -> None:
    status = "Name:\tpython\nCpus_allowed:\tff\nCpus_allowed_list:\t0-2,5\nMems_allowed_list:\t0\n"
    assert read_limits(root_with(tmp_path, {"proc/self/status": status})).allowed_cpus == [
        0,
        1,
        2,
        5,
    ]
    for place, text in (("empty", "Cpus_allowed_list:\t\n"), ("bad", "Cpus_allowed_list:\tx\n")):
        files = root_with(tmp_path / place, {"proc/self/status": text})
        assert read_limits(files).allowed_cpus is None


def test_without_a_group_the_mount_itself_counts(tmp_path: Path) -> None:
    files = root_with(
        tmp_path,
        {"sys/fs/cgroup/cpu.max": "50000 100000\n", "sys/fs/cgroup/memory.max": "1\n"},
    )
    assert read_limits(files) == (None, 0.5, 1)
    hybrid = root_with(
        tmp_path / "hybrid",
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/unified/a/cpu.max": "300000 200000\n",
            "sys/fs/cgroup/unified/a/b/cpu.max": "700000 200000\n",
        },
    )
    assert read_limits(hybrid).cpu_quota == 1.5


def test_limits_of_both_versions_the_least_counts(tmp_path: Path) -> None:
    files = root_with(
        tmp_path,
        {
            "proc/self/cgroup": "broken\n12:cpu:/one/two:three\n0::/one\n",
            "sys/fs/cgroup/cpu/one/two:three/cpu.cfs_quota_us": "150000\n",
            "sys/fs/cgroup/cpu/one/two:three/cpu.cfs_period_us": "50000\n",
            "sys/fs/cgroup/one/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/one/memory.max": "4096\n",
            "sys/fs/cgroup/cpu/memory.limit_in_bytes": "8192\n",
        },
    )
    assert read_limits(files) == (None, 3.0, 4096)


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [("1", "1", 1.0), ("0", "1", None), ("1", "0", None), ("-1", "100000", None), ("", "9", None)],
)
def test_quotas_of_version_1(
    quota: str, period: str, expected: float | None, tmp_path: Path
) -> None:
    files = root_with(
        tmp_path,
        {
            "sys/fs/cgroup/cpu.cfs_quota_us": quota,
            "sys/fs/cgroup/cpu.cfs_period_us": period,
        },
    )
    assert read_limits(files).cpu_quota == expected
    alone = root_with(tmp_path / "alone", {"sys/fs/cgroup/cpu.cfs_quota_us": quota})
    assert read_limits(alone).cpu_quota is None


@pytest.mark.parametrize(("text", "expected"), [("0", None), ("1", 1), ("-5", None), ("max", None)])
def test_limits_of_memory(text: str, expected: int | None, tmp_path: Path) -> None:
    files = root_with(tmp_path, {"sys/fs/cgroup/memory.max": text})
    assert read_limits(files).memory_bytes == expected


def test_the_path_cannot_leave_the_group_tree(tmp_path: Path) -> None:
    files = root_with(
        tmp_path,
        {"proc/self/cgroup": "0::/../../elsewhere\n", "elsewhere/memory.max": "1\n"},
    )
    assert read_limits(files).memory_bytes is None


@pytest.mark.parametrize("text", ["0 0", "-5 100000", "abc", "100000", "100000 0", ""])
def test_garbled_quotas_are_none(text: str, tmp_path: Path) -> None:
    assert read_limits(root_with(tmp_path, {"sys/fs/cgroup/cpu.max": text})).cpu_quota is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(groups=st.text(max_size=60), status=st.text(max_size=60))
def test_garbage_never_crashes(groups: str, status: str, tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True, exist_ok=True)
    (tmp_path / "proc/self/cgroup").write_text(groups, errors="surrogatepass")
    (tmp_path / "proc/self/status").write_text(
        f"Cpus_allowed_list:\t{status}", errors="surrogatepass"
    )
    read_limits(SystemFiles(tmp_path))
