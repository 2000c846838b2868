"""What else went on while this machine was measured: other programs, a busy host, swapping."""

import os
import time
from typing import NamedTuple

from topout.machine.topology import SystemFiles
from topout.measure.process import field_bytes
from topout.records import Doubt, Machine

_AGAIN = "measure again on a quiet machine (`topout machine --refresh`)"
_OTHER_LOAD = 0.1  # CPUs' worth per usable CPU
_STOLEN = 0.01
_SWAP_SHARE = 0.05


class Snapshot(NamedTuple):
    """Running totals of the CPUs in question, in seconds, and of the system, in pages."""

    at_s: float
    busy_s: float | None  # None: /proc/stat is not there
    stolen_s: float
    own_s: float
    swapped_pages: int


def take_snapshot(cpus: list[int], files: SystemFiles | None = None) -> Snapshot:
    """The totals of now, over the CPUs with these numbers."""
    files = files or SystemFiles()
    own = os.times()
    busy_s, stolen_s = _cpu_seconds(files.text("proc/stat") or "", set(cpus))
    counts = dict(
        line.partition(" ")[::2] for line in (files.text("proc/vmstat") or "").splitlines()
    )
    swapped = [counts.get(name, "0").strip() for name in ("pswpin", "pswpout")]
    return Snapshot(
        at_s=time.monotonic(),
        busy_s=busy_s,
        stolen_s=stolen_s,
        own_s=own.user + own.system + own.children_user + own.children_system,
        swapped_pages=sum(int(text) for text in swapped if text.isdigit()),
    )


def doubts_between(before: Snapshot, after: Snapshot, cpus: int) -> list[Doubt]:
    """What disturbed the time between two snapshots of `cpus` CPUs."""
    elapsed_s = max(after.at_s - before.at_s, 1e-9)
    doubts: list[Doubt] = []
    if before.busy_s is not None and after.busy_s is not None:
        others = (after.busy_s - before.busy_s - after.own_s + before.own_s) / elapsed_s
        # Ticks are 10 ms, and so is the doubt about either end.
        if others - 0.02 * cpus / elapsed_s > _OTHER_LOAD * cpus:
            sentence = f"Other programs kept {others:.1f} of {cpus} CPUs busy meanwhile."
            doubts.append(Doubt(about="load", sentence=sentence, remedy=f"Stop them and {_AGAIN}."))
    else:
        doubts += _doubts_of_load(cpus)
    stolen = (after.stolen_s - before.stolen_s) / elapsed_s / cpus
    if stolen > _STOLEN:
        sentence = f"The hypervisor gave {stolen:.1%} of the CPU time to other machines."
        remedy = f"Ask for dedicated CPUs, or {_AGAIN}."
        doubts.append(Doubt(about="steal", sentence=sentence, remedy=remedy))
    if after.swapped_pages > before.swapped_pages:
        pages = after.swapped_pages - before.swapped_pages
        sentence = f"{pages} pages went to or came from swap meanwhile."
        doubts.append(Doubt(about="swap", sentence=sentence, remedy=f"Free memory and {_AGAIN}."))
    return doubts


def standing_doubts(machine: Machine, files: SystemFiles | None = None) -> list[Doubt]:
    """What makes this machine's ceilings doubtful whenever they are measured."""
    doubts: list[Doubt] = []
    memory = (files or SystemFiles()).text("proc/meminfo") or ""
    total = field_bytes(memory, "SwapTotal") or 0
    free = field_bytes(memory, "SwapFree")
    used = 0 if free is None else total - free
    if total and used > _SWAP_SHARE * machine.memory_bytes:
        sentence = f"{used / 2**20:.0f} MiB of memory are in swap."
        remedy = f"Free memory and {_AGAIN}."
        doubts.append(Doubt(about="swap in use", sentence=sentence, remedy=remedy))
    if machine.transparent_huge_pages == "never":
        doubts.append(
            Doubt(
                about="huge pages",
                sentence="Transparent huge pages are switched off, and large reads miss the TLB.",
                remedy="As root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
            )
        )
    return doubts


def _cpu_seconds(stat: str, cpus: set[int]) -> tuple[float | None, float]:
    """Busy and stolen seconds since boot of the CPUs asked for, from the text of /proc/stat."""
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    busy, stolen, seen = 0, 0, False
    for line in stat.splitlines():
        name, *rest = line.split()[:9] or [""]
        number = name.removeprefix("cpu")
        if name == number or not number.isdigit() or int(number) not in cpus:
            continue
        # user nice system idle iowait irq softirq steal
        ticks = [int(text) if text.isdigit() else 0 for text in rest] + [0] * 8
        busy += ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]
        stolen += ticks[7]
        seen = True
    return (busy * tick_s if seen else None), stolen * tick_s


def _doubts_of_load(cpus: int) -> list[Doubt]:
    """Without /proc/stat the load average must do."""
    load = os.getloadavg()[0]
    if load <= cpus * (1 + _OTHER_LOAD):
        return []
    sentence = f"The load average is {load:.1f} on {cpus} CPUs."
    return [Doubt(about="load", sentence=sentence, remedy=f"Stop other programs and {_AGAIN}.")]
