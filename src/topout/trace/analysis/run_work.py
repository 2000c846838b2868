"""How much work a run holds, and how far two runs on other numbers of devices can be compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from topout import units
from topout.records.trace import DeviceShare, DeviceTime, TraceReport
from topout.trace.analysis.groups import COMMUNICATION, MATRIX_MUL, MEMORY

# Groups that move data: collectives, copies and fills, under the names of either set of rules.
# Kernels that copy, cast or transpose within a device are compute, as in the breakdown.
MOVING = frozenset({COMMUNICATION, MEMORY, "memory_mgmt"})
# Device time beside communication that runs of one amount of work may differ by: kernels get
# slower on smaller parts and faster where caches hold more, by less than this.
_SAME_WORK = 1.5


@dataclass(frozen=True)
class RunWork:
    """Sums over the devices of one run."""

    devices: int
    work_s: float  # time on all devices, in all but what moves data
    matrix_s: float
    moving_s: float
    longest_s: float  # the device that took longest, with what moves data
    is_timed: bool  # False: a summary, of which the longest time is not known
    shares: tuple[float, ...]  # of moving data, per device

    @property
    def share(self) -> float:
        """Part of all devices' time that goes into moving data."""
        whole = self.work_s + self.moving_s
        return self.moving_s / whole if whole else 0.0


@dataclass(frozen=True)
class Scaling:
    """One run over another on fewer devices; without a speedup there is a reason."""

    growth: float  # of the number of devices
    work_ratio: float | None
    speedup: float | None
    reason: str = ""

    @property
    def efficiency(self) -> float | None:
        """Speedup over the growth of devices."""
        return None if self.speedup is None else self.speedup / self.growth


def run_work(report: TraceReport) -> RunWork:
    """The sums of a report that has devices."""
    ranks = report.ranks
    return RunWork(
        devices=len(ranks),
        work_s=sum(map(_work, ranks)),
        matrix_s=sum(map(_matrix, ranks)),
        moving_s=sum(map(_moving, ranks)),
        longest_s=max(each.wall_s for each in ranks),
        is_timed=all(each.idle_s is not None for each in ranks),
        shares=tuple(_moving(each) / _total(each) if _total(each) else 0.0 for each in ranks),
    )


def scaling(fewer: RunWork, more: RunWork) -> Scaling:
    """The speedup of `more` over `fewer`, where both hold the same work.

    Work is the time that all devices together spend, matrix products first: where it differs by
    more than half again, the runs do not hold the same work, and there is no speedup.
    """
    growth = more.devices / fewer.devices
    ratio = _work_ratio(fewer, more)
    if ratio is None:
        return Scaling(growth, None, None, "the traces hold no work to compare")
    if not 1 / _SAME_WORK <= ratio <= _SAME_WORK:
        return Scaling(growth, ratio, None, _unlike_work(fewer, more, growth, ratio))
    if not (fewer.is_timed and more.is_timed):
        return Scaling(growth, ratio, None, "a summary does not say how long its run took")
    if not more.longest_s:
        return Scaling(growth, ratio, None, "a run without duration has no speed")
    return Scaling(growth, ratio, fewer.longest_s / more.longest_s)


def _unlike_work(fewer: RunWork, more: RunWork, growth: float, ratio: float) -> str:
    weak = growth / _SAME_WORK <= ratio <= growth * _SAME_WORK
    hint = (
        f". It fits a problem that grows with the devices ({units.times(growth)})"
        if weak and ratio > 1
        else ""
    )
    return (
        "the runs do not hold the same work, all devices together compute for "
        f"{units.seconds(more.work_s)} against {units.seconds(fewer.work_s)} "
        f"({units.times(ratio)}){hint}"
    )


def _work_ratio(fewer: RunWork, more: RunWork) -> float | None:
    """Work of the second over that of the first: the worse of matrix products and all work."""
    pairs = [(fewer.matrix_s, more.matrix_s), (fewer.work_s, more.work_s)]
    ratios = [after / before for before, after in pairs if before > 0 and after > 0]
    return max(ratios, key=lambda ratio: max(ratio, 1 / ratio), default=None)


def device_shares(ranks: Sequence[DeviceTime]) -> list[DeviceShare]:
    """The work of each device, and how it compares with the median of the others."""
    work, matrix = [_work(each) for each in ranks], [_matrix(each) for each in ranks]
    return [
        DeviceShare(
            rank=each.rank,
            device=each.device,
            work_s=work[place],
            work_ratio=_over_others(work, place),
            matrix_s=matrix[place],
            matrix_ratio=_over_others(matrix, place),
        )
        for place, each in enumerate(ranks)
    ]


def _over_others(times: Sequence[float], place: int) -> float | None:
    others = [time for other, time in enumerate(times) if other != place]
    usual = median(others) if others else 0.0
    return times[place] / usual if usual else None


def _total(each: DeviceTime) -> float:
    return sum(group.total_s for group in each.groups)


def _moving(each: DeviceTime) -> float:
    return sum(group.total_s for group in each.groups if group.name in MOVING)


def _work(each: DeviceTime) -> float:
    return _total(each) - _moving(each)


def _matrix(each: DeviceTime) -> float:
    return sum(group.total_s for group in each.groups if group.name == MATRIX_MUL)
