"""The loop that does the arithmetic, found in the machine code, and what it is made of."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from topout.errors import UnsupportedError
from topout.gemm.arm_instructions import arm_role
from topout.gemm.disassembly import Function, Instruction, MachineLoop, disassemble, innermost_loops
from topout.gemm.instruction_roles import Role
from topout.gemm.x86_instructions import x86_role
from topout.records.gemm import InstructionMix


class MainLoop(NamedTuple):
    """The innermost loop of the arithmetic, for one turn of it."""

    mix: InstructionMix
    instructions: int
    multiply_adds: int  # scalar ones: vector instructions × lanes
    sums_in_registers: int  # vector registers that are added to from turn to turn
    chained: float  # additions to one such sum, each of which waits for the one before
    fused: int  # instructions that multiply and add
    arithmetic: int  # those, and instructions that do one of the two


def main_loop(library: Path) -> MainLoop:
    """The loop of the arithmetic in a compiled library.

    Raises UnsupportedError where objdump is missing or fails, and where no loop multiplies and
    adds.
    """
    functions = disassemble(library)
    found = find_main_loop(functions)
    if found is None:
        raise UnsupportedError(
            f"no loop in {library.name} multiplies and adds floats or integers in vectors.",
            "Look at it with `objdump -d`: the compiler may have called another library.",
        )
    return found


def find_main_loop(functions: Iterable[Function]) -> MainLoop | None:
    """The innermost loop with the largest tile of sums, else with the most multiply-adds a turn.

    A loop over the remaining rows or columns has the smaller tile, so it is not taken, even where
    it is unrolled. None when no loop multiplies and adds.
    """
    best: tuple[tuple[float, float, float], MainLoop] | None = None
    for function in functions:
        arm = _is_arm(function)
        frame_pointer = _has_frame_pointer(function.instructions)
        for loop in innermost_loops(function):
            roles = _roles(loop.instructions, arm, frame_pointer)
            figures = _figures(loop, roles)
            if figures is None:
                continue
            mix = figures.mix
            lanes = figures.multiply_adds / mix.multiply_adds
            # Sums that were spilled cannot be told apart: then a turn stands for its tile.
            whole = mix.stack_references == 0
            tile = figures.sums_in_registers * lanes if whole else 0.0
            tile = tile or figures.multiply_adds
            score = (tile, figures.multiply_adds, -figures.instructions / figures.multiply_adds)
            if best is None or score > best[0]:
                best = score, figures
    return best[1] if best else None


def short_name(function: str) -> str:
    """A demangled name without namespaces, result and parameters, as one would say it.

    "void topout::tile<topout::Fp32Product, 6, 4>(topout::TileWork const&) [clone .cold]" →
    "tile<Fp32Product, 6, 4>".
    """
    name = function.replace("(anonymous namespace)::", "").partition(" [clone")[0]
    name = name.partition("(")[0] or name
    name = re.sub(r"\b\w+::", "", name)
    depth = 0
    for place, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        if letter == " " and depth == 0:
            return name[place + 1 :] or name
    return name


def _roles(instructions: Sequence[Instruction], arm: bool, frame_pointer: bool) -> list[Role]:
    read = arm_role if arm else x86_role
    return [read(each, frame_pointer) for each in instructions]


def _is_arm(function: Function) -> bool:
    """AT&T syntax writes registers with %, Arm's without."""
    return not any("%" in each.operands for each in function.instructions)


def _has_frame_pointer(instructions: Sequence[Instruction]) -> bool:
    return any(
        (each.mnemonic, each.operands.replace(" ", ""))
        in {("mov", "%rsp,%rbp"), ("mov", "x29,sp"), ("add", "x29,sp,#0x0")}
        for each in instructions
    )


def _figures(loop: MachineLoop, roles: list[Role]) -> MainLoop | None:
    names = {each.mnemonic for each in loop.instructions}
    if names & {"vpmaddubsw", "pmaddubsw"}:
        # Then multiplying words by one only sums neighbours: no product of the matrices.
        roles = [
            role._replace(arithmetic=None, lanes=0) if name.endswith("pmaddwd") else role
            for name, role in zip((i.mnemonic for i in loop.instructions), roles, strict=True)
        ]
    fused = [role for role in roles if role.arithmetic == "multiply-add"]
    multiplies = [role for role in roles if role.arithmetic == "multiply"]
    adds = [role for role in roles if role.arithmetic == "add"]
    in_pairs = min(sum(role.lanes for role in multiplies), sum(role.lanes for role in adds))
    total = sum(role.lanes for role in fused) + in_pairs
    if total == 0:
        return None
    # Without a fused instruction the narrower half of the pair sets the pace: compilers multiply
    # in vectors and add one by one where the order of the sum may not change.
    paired = min(multiplies, adds, key=_widest) if in_pairs else []
    working = [*fused, *paired]
    bits = _widest(working)
    additions = [*fused, *(adds if in_pairs else [])]
    sums = _carried(roles, additions)
    return MainLoop(
        mix=InstructionMix(
            function=short_name(loop.function),
            multiply_adds=len(working),
            loads=sum(role.loads for role in roles),
            stores=sum(role.stores for role in roles),
            others=sum(_is_other(role, bool(in_pairs)) for role in roles),
            vector_bits=bits,
            stack_references=sum(role.on_stack for role in roles),
            per_multiply_add=len(roles) / len(working),
        ),
        instructions=len(roles),
        multiply_adds=total,
        sums_in_registers=sums,
        chained=len(additions) / sums if sums else 0.0,
        fused=len(fused),
        arithmetic=len(fused) + (len(multiplies) + len(adds) if in_pairs else 0),
    )


def _widest(roles: Sequence[Role]) -> int:
    return max((role.vector_bits for role in roles), default=0)


def _carried(roles: list[Role], additions: list[Role]) -> int:
    """How many registers are added to before anything else in the turn has written them."""
    written: set[str] = set()
    sums: set[str] = set()
    for role in roles:
        if any(role is each for each in additions):
            sums |= {name for name in role.reads if name == role.writes and name not in written}
        if role.writes:
            written.add(role.writes)
    return len(sums)


def _is_other(role: Role, pairs: bool) -> bool:
    arithmetic = role.arithmetic == "multiply-add" or (pairs and role.arithmetic is not None)
    return not arithmetic and role.loads + role.stores == 0
