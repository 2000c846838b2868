"""Guard pages end a process that touches them, and nothing inside them does."""

import subprocess
import sys

import numpy as np
import pytest

from topout.gemm.guarded import GuardedMemory
from topout.gemm.inputs import POISON
from topout.gemm.operand import Layout, Operand

_TOUCH = """
import ctypes, sys
from topout.gemm.guarded import GuardedMemory
memory = GuardedMemory(100)
address = {"start": memory.start, "end": memory.end}[sys.argv[1]] + int(sys.argv[2])
ctypes.memset(address, 1, 1) if sys.argv[3] == "write" else ctypes.string_at(address, 1)
print("survived")
"""


@pytest.mark.parametrize("how", ["read", "write"])
@pytest.mark.parametrize(
    ("edge", "offset", "survives"),
    [("start", -1, False), ("start", 0, True), ("end", -1, True), ("end", 0, False)],
)
def test_only_the_guards_are_deadly(edge: str, offset: int, survives: bool, how: str) -> None:
    command = [sys.executable, "-c", _TOUCH, edge, str(offset), how]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert (finished.returncode == 0) is survives
    assert ("survived" in finished.stdout) is survives


def test_places() -> None:
    with GuardedMemory(100) as memory:
        assert memory.address(100, "start") == memory.start
        assert memory.address(100, "end") == memory.end - 100
        middle = memory.address(64, "middle", 4)
        assert middle % 64 == 4 and memory.start < middle < memory.end - 64
        values = memory.array(memory.address(8, "end"), (2,), np.float32)
        values[:] = 3
        assert values.tolist() == [3, 3]


@pytest.mark.parametrize("layout", [Layout("start"), Layout("end"), Layout("middle", 1)])
@pytest.mark.parametrize("size", [(3, 5), (0, 5), (5, 0), (1, 1)])
def test_an_operand_lies_where_its_layout_says(layout: Layout, size: tuple[int, int]) -> None:
    with Operand(*size, np.float32, layout) as operand:
        assert operand.values.shape == size
        assert operand.end - operand.address == 4 * size[0] * size[1]
        operand.values[...] = 1
        assert (operand.everything == 1).all()


def test_gaps_are_what_lies_between_the_rows() -> None:
    with Operand(3, 5, np.float32, Layout("end", gap=2)) as operand:
        operand.everything.view(np.uint32).fill(POISON)
        operand.values[...] = np.arange(15).reshape(3, 5)
        assert operand.stride == 7 and operand.everything.size == 2 * 7 + 5
        assert operand.gaps().view(np.uint32).tolist() == [POISON] * 4
        assert operand.row_address(2) == operand.address + 2 * 7 * 4
        assert operand.everything[-1] == 14  # flush with the guard page
