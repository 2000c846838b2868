"""The loop that does the arithmetic, found in a library's machine code, and what it is made of.

objdump shows the code; loops are what lies between a jump and its target further up.
"""

import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from topout.errors import UnsupportedError
from topout.gemm.instructions import Instruction, Role, arm_role, x86_role
from topout.programs import child_environment, find_program
from topout.records.gemm import InstructionMix

_TIMEOUT_S = 60.0
_FUNCTION = re.compile(r"^\s*([0-9a-f]+) <(.+)>:\s*$")
# "    11a5:\tlea    0x0(,%rax,4),%rbx        # 2000 <table>"; the bytes of the instruction stand
# in a column of their own between the two where objdump was not told to leave them out.
_INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\t(?:(?:[0-9a-f]{2,8} )+\s*\t)?(.+)$")
_COMMENT = re.compile(r"\s+(?:#|//|;)\s.*$")
# Words that objdump prints before the mnemonic proper.
_LEGACY_PREFIXES = ("lock", "rep", "repz", "repnz", "data16", "addr32", "bnd", "notrack")
_SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss")
_ENCODINGS = ("{vex}", "{vex3}", "{evex}")
_PREFIXES = frozenset((*_LEGACY_PREFIXES, *_SEGMENTS, *_ENCODINGS))
# What x86 cores have done in each cycle since Haswell (2013) and Zen 2 (2019), and Arm's large ones
# at the least; wider vectors that a core takes in halves leave the ratios as they are.
MULTIPLY_ADDS, LOADS, STORES, INSTRUCTIONS = 2, 2, 1, 6
# Cycles until a sum can be added to again: of a multiply-add, and at the least of an addition.
FUSED_LATENCY, ADD_LATENCY = 4, 2


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
    program = find_program("objdump")
    if program is None:
        raise UnsupportedError(
            "objdump is not installed, which shows the machine code.",
            "Install binutils: `apt install binutils`.",
        )
    command = [program, "-d", "-C", "--no-show-raw-insn", "--", str(library)]
    try:
        shown = subprocess.run(
            command, capture_output=True, timeout=_TIMEOUT_S, check=True, env=child_environment()
        ).stdout
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


class LoopPace(NamedTuple):
    """Cycles of one turn of a loop by each of a core's limits."""

    cycles: dict[str, float]
    ideal: float  # with nothing but fused multiply-adds

    @property
    def limit(self) -> str:
        """What takes the most cycles; the arithmetic where others take as many."""
        return max(self.cycles, key=lambda name: (self.cycles[name], name == "multiply-adds"))

    @property
    def of_peak(self) -> float:
        """The share of the core's rate of fused multiply-adds that the limit leaves, 0 to 1."""
        return self.ideal / self.cycles[self.limit]


def loop_pace(loop: MainLoop) -> LoopPace:
    """How fast a core of the usual kind goes through a loop whose data are in the first cache."""
    return LoopPace(
        {
            "multiply-adds": loop.arithmetic / MULTIPLY_ADDS,
            "loads": loop.mix.loads / LOADS,
            "stores": loop.mix.stores / STORES,
            "instructions": loop.instructions / INSTRUCTIONS,
            "latency": _waiting(loop),
        },
        ideal=loop.mix.multiply_adds / MULTIPLY_ADDS,
    )


def _waiting(loop: MainLoop) -> float:
    """Cycles in which the additions to one sum follow each other."""
    if not loop.sums_in_registers:
        return 0.0
    fused = min(loop.chained, loop.fused / loop.sums_in_registers)
    return fused * FUSED_LATENCY + (loop.chained - fused) * ADD_LATENCY
