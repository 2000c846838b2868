"""How cases, ranks and the parts of a step are named in tables and charts."""

from topout import units
from topout.records import RankTime, TrainCase

PARTS = ("data", "forward", "backward", "communication", "optimizer", "other")


def ranks_name(ranks: int) -> str:
    """ "1 rank", "2 ranks"."""
    return f"{units.counted(ranks, 'rank')}"


def rank_name(case: TrainCase, time: RankTime) -> str:
    """ "1 rank", "2 ranks, rank 0": unique within a report."""
    name = ranks_name(case.ranks)
    return name if case.ranks == 1 else f"{name}, rank {time.rank}"
