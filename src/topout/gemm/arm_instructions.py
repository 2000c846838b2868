"""What 64-bit Arm instructions do: the first operand is the one that is written."""

import re

from topout.gemm.disassembly import Instruction
from topout.gemm.instruction_roles import Arithmetic, Role, split_operands

# v0.4s, v1.s[2], q3, s4; z: scalable, counted as 128 bits, the least that it has.
_REGISTER = re.compile(r"\b([vzqdshb])(\d{1,2})\b(?:\.\d{0,2}([bhsd]))?")
_REGISTER_BITS = {"b": 8, "h": 16, "s": 32, "d": 64}
# (what, multiply-adds per 32 bits of register): bfmmla takes 2×4 by 4×2, smmla 2×8 by 8×2.
_MATRIX: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"sdot|udot|usdot|sudot|bfmmla"), 4),
    (re.compile(r"bfdot"), 2),
    (re.compile(r"smmla|ummla|usmmla"), 8),
)
_VECTOR: dict[Arithmetic, re.Pattern[str]] = {
    "multiply-add": re.compile(r"fml[as]|fnm?l?(?:add|sub)|fn?m(?:add|sub)|ml[as]|[su]mlal2?"),
    "multiply": re.compile(r"fmul|mul"),
    "add": re.compile(r"fadd|add"),
}
_NAMES_ITS_SUM = re.compile(r"fn?m(?:add|sub)")  # fmadd d, n, m, a: writes d, adds to a
_LOAD = re.compile(r"ld(?!adda?l?$)\w+")
_STORE = re.compile(r"st\w+")
_PAIR = re.compile(r"(?:ld|st)n?p\w*")


def arm_role(instruction: Instruction, frame_pointer: bool) -> Role:
    """What `instruction` does; `frame_pointer`: x29 points into the stack."""
    name, operands = instruction.mnemonic, split_operands(instruction.operands)
    memory = next((operand for operand in operands if operand.startswith("[")), None)
    if instruction.jump_target is not None or not operands:
        return Role()
    values = [each for each in operands if not each.startswith("[")]
    found = [match for each in values for match in _REGISTER.finditer(each)]
    bits = max((_bits(match) for match in found), default=0)
    # A list in braces is the first operand of loads and stores of several registers.
    first = _REGISTER.search(operands[0])
    arithmetic, lanes = _arithmetic(name, first, bits)
    accesses = 0 if memory is None else 2 if _PAIR.fullmatch(name) else 1
    loads = accesses if _LOAD.fullmatch(name) else 0
    stores = accesses if _STORE.fullmatch(name) else 0
    adds_to_first = arithmetic == "multiply-add" and not _NAMES_ITS_SUM.fullmatch(name)
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


def _bits(register: re.Match[str]) -> int:
    return _REGISTER_BITS.get(register[1], 128)


def _arithmetic(name: str, first: re.Match[str] | None, bits: int) -> tuple[Arithmetic | None, int]:
    if first is None:  # on general registers
        return None, 0
    for pattern, per_word in _MATRIX:
        if pattern.fullmatch(name):
            return "multiply-add", bits // 32 * per_word
    for kind, pattern in _VECTOR.items():
        if pattern.fullmatch(name):
            element = _REGISTER_BITS.get(first[3] or first[1], bits)
            return kind, max(1, bits // element)
    return None, 0
