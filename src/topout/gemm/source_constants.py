"""The block sizes of a version, read from its C++ file, so that they stand in one place only."""

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from topout.errors import UnsupportedError
from topout.records.machine import Machine

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
_DIRECTIVE = re.compile(r"^\s*#\s*(ifdef|ifndef|if|elif|else|endif)\b(.*)$")
_MACRO = re.compile(r"^\s*#\s*define\s+(\w+)(?:\s+(.*))?$")
_DEFINITION = re.compile(
    r"\bconstexpr\s+(?:static\s+|inline\s+|const\s+)*(?:std\s*::\s*)?"
    r"(?:(?:int|long|unsigned|size_t|ptrdiff_t|u?int(?:8|16|32|64)_t)\s+)+([^;{}]*);"
)
_ASSIGNMENT = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(.+?)\s*", re.DOTALL)
_SIZES = {"float": 4, "double": 8, "int64_t": 8, "int32_t": 4, "int16_t": 2, "int8_t": 1}
_SIZE_OF = re.compile(r"sizeof\s*\(\s*(\w+)\s*\)")
_NAMESPACE = re.compile(r"\b[A-Za-z_]\w*\s*::\s*")
_SUFFIX = re.compile(r"\b(\d[\d']*)[uUlLzZ]{1,3}\b")
_CHOICE = re.compile(r"([^?]+)\?([^?:]+):([^?:]+)")
_DEFINED = re.compile(r"\bdefined\s*(?:\(\s*(\w+)\s*\)|(\w+))")

_ARITHMETIC: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a // b,
    ast.Mod: operator.mod,
    ast.LShift: lambda a, b: a << min(b, 64),
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
# What the compiler defines when it is asked for the instructions of a CPU that has them.
_MACROS = {
    "avx": "__AVX__",
    "avx2": "__AVX2__",
    "fma": "__FMA__",
    "avx512f": "__AVX512F__",
    "avx512bw": "__AVX512BW__",
    "avx512vl": "__AVX512VL__",
    "avx512dq": "__AVX512DQ__",
    "avx512_vnni": "__AVX512VNNI__",
    "avx512_bf16": "__AVX512BF16__",
    "avx_vnni": "__AVXVNNI__",
}
_X86_64 = ("x86_64", "AMD64")
_ARM = ("aarch64", "arm64")
_DTYPE_MACROS = {"bf16": "TOPOUT_GEMM_BF16", "int8": "TOPOUT_GEMM_INT8"}

Macros = Mapping[str, int]


def macros_of(machine: Machine, dtype: str = "fp32") -> dict[str, int]:
    """What is defined in a build of a version of `dtype` for this very machine."""
    names = [_DTYPE_MACROS[dtype]] if dtype in _DTYPE_MACROS else []
    if machine.architecture in _ARM:
        names += ["__aarch64__", "__ARM_NEON"]
    elif machine.architecture in _X86_64:
        names += ["__x86_64__", "__SSE2__"]
        names += [_MACROS[isa] for isa in machine.vector_isa if isa in _MACROS]
    return dict.fromkeys(names, 1)


def up_to_avx2(machine: Machine) -> Machine:
    """The same machine without the instructions that came after AVX2."""
    known = [isa for isa in machine.vector_isa if isa in ("avx", "fma", "avx2")]
    return msgspec.structs.replace(machine, vector_isa=known if "avx2" in known else [])


def read_constants(
    source: Path, macros: Macros, include_folders: Sequence[Path] = ()
) -> dict[str, int]:
    """The integer constants and macros of a C++ file and of what it includes in quotes.

    `macros`: what is defined from the start. Includes are looked for beside the file that names
    them, then in `include_folders`; those found nowhere are left out. Raises UnsupportedError when
    the file is not readable.
    """
    try:
        text = _with_includes(source.resolve(), include_folders, set())
    except OSError as error:
        raise UnsupportedError(
            f"{source} cannot be read for its block sizes: {error.strerror}.", "Check the path."
        ) from None
    return parse_constants(text, macros)


def _with_includes(file: Path, folders: Sequence[Path], seen: set[Path]) -> str:
    """The text of a file with each quoted include in its place, the first time that it comes."""
    seen.add(file)
    lines: list[str] = []
    for line in file.read_text(errors="replace").splitlines():
        if named := _INCLUDE.match(line):
            places = [(folder / named[1]).resolve() for folder in (file.parent, *folders)]
            found = next((place for place in places if place.is_file()), None)
            if found is not None and found not in seen:
                lines.append(_with_includes(found, folders, seen))
        else:
            lines.append(line)
    return "\n".join(lines)


def parse_constants(text: str, macros: Macros) -> dict[str, int]:
    """`constexpr` integers of C++ text: literals, and arithmetic on those that came before.

    Macros stand among them, since sources ask for both by name; those that are no integers as 0. A
    definition whose value is anything else is left out. Namespaces are ignored. An #if that asks
    for more than names, integers, `defined`, comparisons, &&, || and ! counts as false.
    """
    found = _active(_COMMENT.sub(" ", text), macros)
    constants: dict[str, int] = {}
    for definition in _DEFINITION.findall(found.text):
        for part in definition.split(","):
            assignment = _ASSIGNMENT.fullmatch(part)
            value = evaluate(assignment[2], {**found.macros, **constants}) if assignment else None
            if assignment and value is not None:
                constants[assignment[1]] = value
    return {**found.macros, **constants}


def evaluate(expression: str, known: Mapping[str, int]) -> int | None:
    """The value of a C++ expression of integers and `known` names; None for what is not one."""
    plain = _SIZE_OF.sub(
        lambda found: str(_SIZES.get(found[1], "?")), _NAMESPACE.sub("", expression)
    )
    plain = _SUFFIX.sub(r"\1", plain).replace("'", "")
    if choice := _CHOICE.fullmatch(plain):
        plain = f"({choice[2]}) if ({choice[1]}) else ({choice[3]})"
    plain = plain.replace("&&", " and ").replace("||", " or ")
    plain = re.sub(r"!(?!=)", " not ", plain)
    try:
        return _fold(ast.parse(plain.strip(), mode="eval").body, known)
    except (SyntaxError, ValueError, KeyError, ArithmeticError, RecursionError, MemoryError):
        return None


def _fold(node: ast.expr, known: Mapping[str, int]) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name):
        return known[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        return _ARITHMETIC[type(node.op)](_fold(node.left, known), _fold(node.right, known))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return int(not _fold(node.operand, known))
    if isinstance(node, ast.BoolOp):
        values = [_fold(value, known) for value in node.values]
        return int(all(values) if isinstance(node.op, ast.And) else any(values))
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS and len(node.ops) == 1:
        left, right = _fold(node.left, known), _fold(node.comparators[0], known)
        return int(_COMPARISONS[type(node.ops[0])](left, right))
    if isinstance(node, ast.IfExp):
        return _fold(node.body if _fold(node.test, known) else node.orelse, known)
    raise ValueError("not an integer expression")


class _Active(NamedTuple):
    text: str  # the lines that the preprocessor would leave in
    macros: dict[str, int]  # those that are integers


def _active(text: str, macros: Macros) -> _Active:
    kept: list[str] = []
    defined = dict(macros)
    # For each open #if: whether the lines now are in, and whether a branch has been taken.
    branches: list[tuple[bool, bool]] = []
    for line in text.splitlines():
        if directive := _DIRECTIVE.match(line):
            _follow(directive[1], directive[2].strip(), branches, defined)
        elif all(active for active, _ in branches):
            if macro := _MACRO.match(line):
                defined[macro[1]] = evaluate(macro[2] or "1", defined) or 0
            else:
                kept.append(line)
    return _Active("\n".join(kept), defined)


def _follow(word: str, rest: str, branches: list[tuple[bool, bool]], macros: Macros) -> None:
    """Take one #if, #elif, #else or #endif into account."""
    if word in ("if", "ifdef", "ifndef"):
        true = _condition(rest if word == "if" else f"defined({rest})", macros)
        true = true != (word == "ifndef")
        branches.append((true, true))
    elif branches and word == "endif":
        branches.pop()
    elif branches:
        _, taken = branches[-1]
        true = not taken and (word == "else" or _condition(rest, macros))
        branches[-1] = (true, taken or true)


def _condition(text: str, macros: Macros) -> bool:
    asked = _DEFINED.sub(lambda found: str(int((found[1] or found[2]) in macros)), text)
    # A name that is not defined counts as 0, as the preprocessor has it.
    names = dict.fromkeys(re.findall(r"[A-Za-z_]\w*", asked), 0)
    return bool(evaluate(asked, {**names, **macros}))
