"""A library's machine code as functions and loops, from what objdump prints."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from topout.errors import UnsupportedError

_TIMEOUT_S = 60.0
_FUNCTION = re.compile(r"^\s*([0-9a-f]+) <(.+)>:\s*$")
# "    11a5:\tlea    0x0(,%rax,4),%rbx        # 2000 <table>"; the bytes of the instruction stand
# in a column of their own between the two where objdump was not told to leave them out.
_INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\t(?:(?:[0-9a-f]{2,8} )+\s*\t)?(.+)$")
_COMMENT = re.compile(r"\s+(?:#|//|;)\s.*$")
_TARGET = re.compile(r"(?:^|[\s,])(?:0x)?([0-9a-f]+)$")
# Words that objdump prints before the mnemonic proper.
_LEGACY_PREFIXES = ("lock", "rep", "repz", "repnz", "data16", "addr32", "bnd", "notrack")
_SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss")
_ENCODINGS = ("{vex}", "{vex3}", "{evex}")
_PREFIXES = frozenset((*_LEGACY_PREFIXES, *_SEGMENTS, *_ENCODINGS))
_X86_JUMP = re.compile(r"j[a-z]{1,4}|loop[a-z]{0,2}")
_ARM_JUMP = re.compile(r"b|b[.][a-z]{2,5}|cbn?z|tbn?z")


class Instruction(NamedTuple):
    """One instruction; `operands` as objdump writes them, without the comment behind them."""

    address: int
    mnemonic: str
    operands: str

    @property
    def jump_target(self) -> int | None:
        """The address that a jump goes to; None for what is no jump, or an indirect one."""
        if not (_X86_JUMP.fullmatch(self.mnemonic) or _ARM_JUMP.fullmatch(self.mnemonic)):
            return None
        if self.operands.startswith("*"):
            return None
        # What stands in <> is a name, which may itself hold anything: "<gemm(float const*)+0x10>".
        found = _TARGET.search(self.operands.partition(" <")[0])
        return int(found[1], 16) if found else None


class Function(NamedTuple):
    """A named piece of machine code; OpenMP's bodies are functions too (`gemm._omp_fn.0`)."""

    name: str
    instructions: list[Instruction]


class MachineLoop(NamedTuple):
    """The instructions from the target of a backward jump to that jump."""

    function: str
    instructions: Sequence[Instruction]


def disassemble(library: Path) -> list[Function]:
    """The functions of a compiled library or program.

    Raises UnsupportedError where objdump is not installed, fails or finds no code.
    """
    program = shutil.which("objdump")
    if program is None:
        raise UnsupportedError(
            "objdump is not installed, which shows the machine code.",
            "Install binutils: `apt install binutils`.",
        )
    command = [program, "-d", "-C", "--no-show-raw-insn", "--", str(library)]
    try:
        shown = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise UnsupportedError(
            f"objdump could not read {library.name} ({type(error).__name__}).",
            "Try `objdump -d` on it yourself.",
        ) from None
    functions = parse_listing(shown.decode(errors="replace"))
    if not functions:
        raise UnsupportedError(f"objdump shows no code in {library.name}.", "Build it again.")
    return functions


def parse_listing(text: str) -> list[Function]:
    """The functions in what `objdump -d` prints; lines of any other form are passed over."""
    functions: list[Function] = []
    for line in text.splitlines():
        if header := _FUNCTION.match(line):
            functions.append(Function(header[2], []))
        elif functions and (found := _INSTRUCTION.match(line)):
            instruction = _parse_instruction(int(found[1], 16), found[2])
            if instruction is not None:
                functions[-1].instructions.append(instruction)
    return [function for function in functions if function.instructions]


def _parse_instruction(address: int, text: str) -> Instruction | None:
    mnemonic, _, operands = _COMMENT.sub("", text).strip().partition(" ")
    # On Arm a tab stands between the two, on x86 spaces.
    while True:
        head, _, tail = mnemonic.partition("\t")
        if tail:
            mnemonic, operands = head, f"{tail} {operands}"
        if mnemonic not in _PREFIXES or not operands.strip():
            break
        mnemonic, _, operands = operands.strip().partition(" ")
    if not mnemonic or mnemonic.startswith((".", "(")):  # data between functions, "(bad)"
        return None
    return Instruction(address, mnemonic, operands.strip())


def innermost_loops(function: Function) -> list[MachineLoop]:
    """The loops of a function that hold no other loop, in the order of their addresses.

    A loop is what lies between a jump and its target further up, as compilers lay loops out.
    """
    index = {each.address: i for i, each in enumerate(function.instructions)}
    spans: set[tuple[int, int]] = set()
    for end, instruction in enumerate(function.instructions):
        target = instruction.jump_target
        start = index.get(target) if target is not None else None
        if start is not None and start <= end:
            spans.add((start, end))
    return [
        MachineLoop(function.name, function.instructions[start : end + 1])
        for start, end in sorted(spans)
        if not any(
            (start, end) != other and start <= other[0] and other[1] <= end for other in spans
        )
    ]
