"""What one machine instruction does in a loop of multiply-adds: the words for it."""

import re
from typing import Literal, NamedTuple

Arithmetic = Literal["multiply-add", "multiply", "add"]


class Role(NamedTuple):
    """What an instruction does, once executed."""

    arithmetic: Arithmetic | None = None
    lanes: int = 0  # scalar multiply-adds (or products, or sums) that it does
    vector_bits: int = 0  # of its widest vector register; of the element where it is scalar
    loads: int = 0  # memory operands read
    stores: int = 0
    on_stack: bool = False  # it moves a vector register from or to the stack
    reads: frozenset[str] = frozenset()  # vector registers: "v0"
    writes: str | None = None


_OPERANDS = re.compile(r"(?:[^,(\[{]|\([^)]*\)?|\[[^\]]*\]?|\{[^}]*\}?)+")


def split_operands(text: str) -> list[str]:
    """Operands, parted at the commas that stand outside brackets."""
    return [found.strip() for found in _OPERANDS.findall(text) if found.strip()]
