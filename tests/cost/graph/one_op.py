"""Shorthands for the tests: the figures of a run in which one op matters."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from topout.cost.graph import count
from topout.records.count import Count, CountedOp


def rows_of(counted: Count, name: str, phase: str = "forward") -> list[CountedOp]:
    return [row for row in counted.rows if row.name == name and row.phase == phase]


def only(run: Callable[..., Any], *args: Any, **more: Any) -> CountedOp:
    """The one op that `run` executes."""
    (row,) = count(run, *args, **more).rows
    return row


def flops_by_phase(counted: Count) -> dict[str, int]:
    return {phase: work.flops for phase, work in counted.phases.items()}


def torch_flops(run: Callable[[], Any], backward: bool = False) -> int:
    """What PyTorch's own counter gives."""
    with FlopCounterMode(display=False) as counter:
        result = run()
        if backward:
            result.sum().backward()
    return int(counter.get_total_flops())


def meta(*shape: int, dtype: torch.dtype = torch.float32, grad: bool = False) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta", requires_grad=grad)
