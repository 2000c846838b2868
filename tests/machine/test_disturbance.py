"""What disturbs a measurement: other programs, stolen time, swapping, told from /proc."""

from pathlib import Path

import msgspec
import pytest

from topout.machine.describe import describe
from topout.machine.disturbance import Snapshot, doubts_between, standing_doubts, take_snapshot
from topout.machine.topology import SystemFiles

QUIET = Snapshot(at_s=0.0, busy_s=0.0, stolen_s=0.0, own_s=0.0, swapped_pages=5)


def files_of(folder: Path, **texts: str) -> SystemFiles:
    (folder / "proc").mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / "proc" / name).write_text(text)
    return SystemFiles(folder)


def test_only_the_cpus_asked_for_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    stat = (
        "cpu  9999 0 0 0 0 0 0 0 0 0\n"
        "cpu0 100 20 30 5000 9 1 2 50 7 0\n"
        "cpu1 7000 0 0 0 0 0 0 0 0 0\n"
        "cpu12 1 0 0 0 0 0 0 1 0 0\n"
        "intr 1 2 3\n"
    )
    files = files_of(tmp_path, stat=stat, vmstat="pswpin 3\npswpout 4\nother x\n")
    snapshot = take_snapshot([0, 12], files)
    # user, nice, system, irq and softirq: 100 + 20 + 30 + 1 + 2 and 1 ticks of 10 ms
    assert snapshot.busy_s == pytest.approx(1.54)
    assert snapshot.stolen_s == pytest.approx(0.51)
    assert snapshot.swapped_pages == 7


def test_a_quiet_time_raises_no_doubt() -> None:
    after = QUIET._replace(at_s=10.0, busy_s=18.1, own_s=18.0)
    assert doubts_between(QUIET, after, cpus=2) == []


def test_other_programs() -> None:
    after = QUIET._replace(at_s=10.0, busy_s=20.0, own_s=8.0)
    (doubt,) = doubts_between(QUIET, after, cpus=2)
    assert doubt.about == "load"
    assert "1.2 of 2 CPUs" in doubt.sentence
    assert doubt.remedy


def test_stolen_time_and_swap() -> None:
    after = QUIET._replace(at_s=10.0, stolen_s=1.0, swapped_pages=9)
    steal, swap = doubts_between(QUIET, after, cpus=2)
    assert (steal.about, swap.about) == ("steal", "swap")
    assert "5.0%" in steal.sentence
    assert swap.sentence.startswith("4 pages")


@pytest.mark.parametrize(("load", "doubts"), [(0.5, 0), (2.0, 0), (5.0, 1)])
def test_without_proc_stat_the_load_average_counts(
    load: float, doubts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, load, load))
    before = take_snapshot([0, 1], SystemFiles(tmp_path))
    assert before.busy_s is None
    assert len(doubts_between(before, before._replace(at_s=before.at_s + 1), 2)) == doubts


def test_swap_in_use_and_huge_pages_switched_off(tmp_path: Path) -> None:
    machine = msgspec.structs.replace(
        describe(), memory_bytes=1 << 30, transparent_huge_pages="never"
    )
    meminfo = "MemTotal: 1048576 kB\nSwapTotal: 1048576 kB\nSwapFree: 524288 kB\n"
    swap, pages = standing_doubts(machine, files_of(tmp_path, meminfo=meminfo))
    assert "512 MiB" in swap.sentence
    assert pages.about == "huge pages"
    calm = msgspec.structs.replace(machine, transparent_huge_pages="madvise")
    none_used = meminfo.replace("524288", "1048576")
    assert standing_doubts(calm, files_of(tmp_path, meminfo=none_used)) == []
    (full,) = standing_doubts(calm, files_of(tmp_path, meminfo=meminfo.replace("524288", "0")))
    assert "1024 MiB" in full.sentence


def test_garbled_texts(tmp_path: Path) -> None:
    files = files_of(tmp_path, stat="cpu0\n\ncpu1 a b\n", vmstat="pswpin\npswpout x\n")
    assert take_snapshot([0, 1], files).busy_s == 0.0
