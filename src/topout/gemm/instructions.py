"""What one machine instruction does in a loop of multiply-adds, on x86-64 and on 64-bit Arm.

Operands are as objdump writes them. In AT&T's syntax for x86 the last operand is the one that is
written, in Arm's the first.
"""

import re
from typing import Literal, NamedTuple

Arithmetic = Literal["multiply-add", "multiply", "add"]
_TARGET = re.compile(r"(?:^|[\s,])(?:0x)?([0-9a-f]+)$")
_X86_JUMP = re.compile(r"j[a-z]{1,4}|loop[a-z]{0,2}")
_ARM_JUMP = re.compile(r"b|b[.][a-z]{2,5}|cbn?z|tbn?z")
_OPERANDS = re.compile(r"(?:[^,(\[{]|\([^)]*\)?|\[[^\]]*\]?|\{[^}]*\}?)+")


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


def split_operands(text: str) -> list[str]:
    """Operands, parted at the commas that stand outside brackets."""
    return [found.strip() for found in _OPERANDS.findall(text) if found.strip()]


# --- x86 ---

_X86_REGISTER = re.compile(r"%([xyz])mm(\d{1,2})")
_X86_REGISTER_BITS = {"x": 128, "y": 256, "z": 512}
_X86_ELEMENT_BITS = {"h": 16, "s": 32, "d": 64}

_X86_FLOAT: dict[Arithmetic, re.Pattern[str]] = {
    "multiply-add": re.compile(r"vfn?m(?:add|sub)(?:132|213|231)?([ps])([hsd])"),
    "multiply": re.compile(r"v?mul([ps])([hsd])"),
    "add": re.compile(r"v?add([ps])([hsd])"),
}
# (what, multiply-adds per 32 bits of register). Before VNNI, bytes or pairs of int16 are
# multiplied and neighbours summed, and one addition then takes up to four products of a lane.
_X86_PACKED: tuple[tuple[re.Pattern[str], Arithmetic, float], ...] = (
    (re.compile(r"vdpbf16ps|vdpphps|vpdpw[su]{2}ds?"), "multiply-add", 2),
    (re.compile(r"vpdpb[su]{2}ds?"), "multiply-add", 4),
    (re.compile(r"v?pmaddubsw"), "multiply", 4),
    (re.compile(r"v?pmaddwd"), "multiply", 2),
    (re.compile(r"v?pmulld"), "multiply", 1),
    (re.compile(r"v?pmuludq"), "multiply", 0.5),
    (re.compile(r"v?paddd"), "add", 4),
)
_X86_NO_ACCESS = re.compile(r"lea[lqw]?|nop[wl]?|prefetch\w*|endbr64")
_X86_GATHER = re.compile(r"v(?:p?gather)[dq]([psdq]{1,2})")
# Writes memory without reading it first; arithmetic on memory does both.
_X86_ONLY_WRITES = re.compile(r"(?:v?p?(?:mov|extract|compress|scatter|cvt)|set)\w*")
_X86_ONLY_READS = re.compile(r"cmp[bwlq]?|test[bwlq]?|bt[wlq]?|push[qw]?|(?:i?mul|i?div)[bwlq]?")
_X86_STACK = re.compile(r"\((%rsp|%rbp)[,)]")


def x86_role(instruction: Instruction, frame_pointer: bool) -> Role:
    """What `instruction` does; `frame_pointer`: %rbp points into the stack."""
    name, operands = instruction.mnemonic, split_operands(instruction.operands)
    if not operands or instruction.jump_target is not None:
        return Role()
    found = [_X86_REGISTER.search(operand) for operand in operands]
    bits = max((_X86_REGISTER_BITS[match[1]] for match in found if match), default=0)
    arithmetic, lanes, used_bits = _x86_arithmetic(name, bits)
    loads, stores = _x86_accesses(name, operands, bits)
    written = None if "(" in operands[-1] else found[-1]
    reads = {f"v{match[2]}" for match in found[:-1] if match}
    # Multiply-adds read what they write, and so does arithmetic with two operands.
    if written and (arithmetic == "multiply-add" or (arithmetic and len(operands) == 2)):
        reads.add(f"v{written[2]}")
    stack = _X86_STACK.search(instruction.operands)
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


def _x86_arithmetic(name: str, bits: int) -> tuple[Arithmetic | None, int, int]:
    """(what, lanes, bits used of the register)."""
    for kind, pattern in _X86_FLOAT.items():
        if found := pattern.fullmatch(name):
            element = _X86_ELEMENT_BITS[found[2]]
            used = element if found[1] == "s" else bits
            return kind, used // element, used
    for pattern, kind, per_word in _X86_PACKED:
        if pattern.fullmatch(name):
            return kind, int(bits // 32 * per_word), bits
    return None, 0, bits


def _x86_accesses(name: str, operands: list[str], bits: int) -> tuple[int, int]:
    """(memory operands read, written)."""
    in_memory = ["(" in operand and not operand.startswith("*") for operand in operands]
    if not any(in_memory) or _X86_NO_ACCESS.fullmatch(name):
        return 0, 0
    if gather := _X86_GATHER.fullmatch(name):  # one access for every element
        return bits // (64 if gather[1][-1] in "dq" and gather[1] != "d" else 32), 0
    if not in_memory[-1] or _X86_ONLY_READS.fullmatch(name):
        return 1, 0
    return (0, 1) if _X86_ONLY_WRITES.fullmatch(name) else (1, 1)


# --- Arm ---

# v0.4s, v1.s[2], q3, s4; z: scalable, counted as 128 bits, the least that it has.
_ARM_REGISTER = re.compile(r"\b([vzqdshb])(\d{1,2})\b(?:\.\d{0,2}([bhsd]))?")
_ARM_REGISTER_BITS = {"b": 8, "h": 16, "s": 32, "d": 64}
# (what, multiply-adds per 32 bits of register): bfmmla takes 2×4 by 4×2, smmla 2×8 by 8×2.
_ARM_MATRIX: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"sdot|udot|usdot|sudot|bfmmla"), 4),
    (re.compile(r"bfdot"), 2),
    (re.compile(r"smmla|ummla|usmmla"), 8),
)
_ARM_VECTOR: dict[Arithmetic, re.Pattern[str]] = {
    "multiply-add": re.compile(r"fml[as]|fnm?l?(?:add|sub)|fn?m(?:add|sub)|ml[as]|[su]mlal2?"),
    "multiply": re.compile(r"fmul|mul"),
    "add": re.compile(r"fadd|add"),
}
_ARM_NAMES_ITS_SUM = re.compile(r"fn?m(?:add|sub)")  # fmadd d, n, m, a: writes d, adds to a
_ARM_LOAD = re.compile(r"ld(?!adda?l?$)\w+")
_ARM_STORE = re.compile(r"st\w+")
_ARM_PAIR = re.compile(r"(?:ld|st)n?p\w*")


def arm_role(instruction: Instruction, frame_pointer: bool) -> Role:
    """What `instruction` does; `frame_pointer`: x29 points into the stack."""
    name, operands = instruction.mnemonic, split_operands(instruction.operands)
    memory = next((operand for operand in operands if operand.startswith("[")), None)
    if instruction.jump_target is not None or not operands:
        return Role()
    values = [each for each in operands if not each.startswith("[")]
    found = [match for each in values for match in _ARM_REGISTER.finditer(each)]
    bits = max((_arm_bits(match) for match in found), default=0)
    # A list in braces is the first operand of loads and stores of several registers.
    first = _ARM_REGISTER.search(operands[0])
    arithmetic, lanes = _arm_arithmetic(name, first, bits)
    accesses = 0 if memory is None else 2 if _ARM_PAIR.fullmatch(name) else 1
    loads = accesses if _ARM_LOAD.fullmatch(name) else 0
    stores = accesses if _ARM_STORE.fullmatch(name) else 0
    adds_to_first = arithmetic == "multiply-add" and not _ARM_NAMES_ITS_SUM.fullmatch(name)
    read = found if stores or adds_to_first else found[1:]
    base = memory or ""
    own = base.startswith("[sp") or (frame_pointer and base.startswith("[x29"))
    return Role(
        arithmetic=arithmetic,
        lanes=lanes,
        vector_bits=bits,
        loads=loads,
        stores=stores,
        on_stack=bool(found and own and loads + stores),
        reads=frozenset(f"v{match[2]}" for match in read),
        writes=f"v{first[2]}" if first and not stores else None,
    )


def _arm_bits(register: re.Match[str]) -> int:
    return _ARM_REGISTER_BITS.get(register[1], 128)


def _arm_arithmetic(
    name: str, first: re.Match[str] | None, bits: int
) -> tuple[Arithmetic | None, int]:
    if first is None:  # on general registers
        return None, 0
    for pattern, per_word in _ARM_MATRIX:
        if pattern.fullmatch(name):
            return "multiply-add", bits // 32 * per_word
    for kind, pattern in _ARM_VECTOR.items():
        if pattern.fullmatch(name):
            element = _ARM_REGISTER_BITS.get(first[3] or first[1], bits)
            return kind, max(1, bits // element)
    return None, 0
