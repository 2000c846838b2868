"""What x86-64 instructions do, in AT&T syntax: the last operand is the one that is written."""

import re

from topout.gemm.disassembly import Instruction
from topout.gemm.instruction_roles import Arithmetic, Role, split_operands

_REGISTER = re.compile(r"%([xyz])mm(\d{1,2})")
_REGISTER_BITS = {"x": 128, "y": 256, "z": 512}
_ELEMENT_BITS = {"h": 16, "s": 32, "d": 64}

_FLOAT: dict[Arithmetic, re.Pattern[str]] = {
    "multiply-add": re.compile(r"vfn?m(?:add|sub)(?:132|213|231)?([ps])([hsd])"),
    "multiply": re.compile(r"v?mul([ps])([hsd])"),
    "add": re.compile(r"v?add([ps])([hsd])"),
}
# (what, multiply-adds per 32 bits of register). Before VNNI, bytes or pairs of int16 are
# multiplied and neighbours summed, and one addition then takes up to four products of a lane.
_PACKED: tuple[tuple[re.Pattern[str], Arithmetic, float], ...] = (
    (re.compile(r"vdpbf16ps|vdpphps|vpdpw[su]{2}ds?"), "multiply-add", 2),
    (re.compile(r"vpdpb[su]{2}ds?"), "multiply-add", 4),
    (re.compile(r"v?pmaddubsw"), "multiply", 4),
    (re.compile(r"v?pmaddwd"), "multiply", 2),
    (re.compile(r"v?pmulld"), "multiply", 1),
    (re.compile(r"v?pmuludq"), "multiply", 0.5),
    (re.compile(r"v?paddd"), "add", 4),
)
_NO_ACCESS = re.compile(r"lea[lqw]?|nop[wl]?|prefetch\w*|endbr64")
_GATHER = re.compile(r"v(?:p?gather)[dq]([psdq]{1,2})")
# Writes memory without reading it first; arithmetic on memory does both.
_ONLY_WRITES = re.compile(r"(?:v?p?(?:mov|extract|compress|scatter|cvt)|set)\w*")
_ONLY_READS = re.compile(r"cmp[bwlq]?|test[bwlq]?|bt[wlq]?|push[qw]?|(?:i?mul|i?div)[bwlq]?")
_STACK = re.compile(r"\((%rsp|%rbp)[,)]")


def x86_role(instruction: Instruction, frame_pointer: bool) -> Role:
    """What `instruction` does; `frame_pointer`: %rbp points into the stack."""
    name, operands = instruction.mnemonic, split_operands(instruction.operands)
    if not operands or instruction.jump_target is not None:
        return Role()
    found = [_REGISTER.search(operand) for operand in operands]
    bits = max((_REGISTER_BITS[match[1]] for match in found if match), default=0)
    arithmetic, lanes, used_bits = _arithmetic(name, bits)
    loads, stores = _accesses(name, operands, bits)
    written = None if "(" in operands[-1] else found[-1]
    reads = {f"v{match[2]}" for match in found[:-1] if match}
    # Multiply-adds read what they write, and so does arithmetic with two operands.
    if written and (arithmetic == "multiply-add" or (arithmetic and len(operands) == 2)):
        reads.add(f"v{written[2]}")
    stack = _STACK.search(instruction.operands)
    own = stack is not None and (stack[1] == "%rsp" or frame_pointer)
    return Role(
        arithmetic=arithmetic,
        lanes=lanes,
        vector_bits=used_bits,
        loads=loads,
        stores=stores,
        on_stack=bool(bits and own and loads + stores),
        reads=frozenset(reads),
        writes=f"v{written[2]}" if written else None,
    )


def _arithmetic(name: str, bits: int) -> tuple[Arithmetic | None, int, int]:
    """(what, lanes, bits used of the register)."""
    for kind, pattern in _FLOAT.items():
        if found := pattern.fullmatch(name):
            element = _ELEMENT_BITS[found[2]]
            used = element if found[1] == "s" else bits
            return kind, used // element, used
    for pattern, kind, per_word in _PACKED:
        if pattern.fullmatch(name):
            return kind, int(bits // 32 * per_word), bits
    return None, 0, bits


def _accesses(name: str, operands: list[str], bits: int) -> tuple[int, int]:
    """(memory operands read, written)."""
    in_memory = ["(" in operand and not operand.startswith("*") for operand in operands]
    if not any(in_memory) or _NO_ACCESS.fullmatch(name):
        return 0, 0
    if gather := _GATHER.fullmatch(name):  # one access for every element
        return bits // (64 if gather[1][-1] in "dq" and gather[1] != "d" else 32), 0
    if not in_memory[-1] or _ONLY_READS.fullmatch(name):
        return 1, 0
    return (0, 1) if _ONLY_WRITES.fullmatch(name) else (1, 1)
