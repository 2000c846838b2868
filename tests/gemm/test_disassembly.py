"""What objdump prints, read as functions and loops."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.errors import UnsupportedError
from topout.gemm.disassembly import (
    Function,
    Instruction,
    disassemble,
    innermost_loops,
    parse_listing,
)
from topout.gemm.instruction_mix import find_main_loop

LISTINGS = Path(__file__).parent / "listings"

NESTED = """
0000000000001000 <outer(float const*, long)>:
    1000:\txor    %eax,%eax
    1002:\txor    %ecx,%ecx
    1004:\tvfmadd231ps (%rdi,%rcx,4),%ymm0,%ymm1        # 2000 <table>
    1009:\tinc    %rcx
    100c:\tcmp    %rsi,%rcx
    100f:\tjne    1004 <outer(float const*, long)+0x4>
    1011:\tinc    %rax
    1014:\tjmp    1002 <outer(float const*, long)+0x2>
    1016:\tjmp    *%rax
    1018:\tret
"""


def test_a_function_has_its_demangled_name_and_instructions() -> None:
    (function,) = parse_listing(NESTED)
    assert function.name == "outer(float const*, long)"
    assert len(function.instructions) == 10
    assert function.instructions[2] == Instruction(
        0x1004, "vfmadd231ps", "(%rdi,%rcx,4),%ymm0,%ymm1"
    )


def test_only_the_inner_of_two_loops_is_innermost() -> None:
    (loop,) = innermost_loops(parse_listing(NESTED)[0])
    assert [each.mnemonic for each in loop.instructions] == ["vfmadd231ps", "inc", "cmp", "jne"]


def test_a_jump_is_read_past_pointers_in_its_demangled_target() -> None:
    jump = Instruction(0, "jne", "187a <rows(float const*, long)+0x21a>")
    assert jump.jump_target == 0x187A


@pytest.mark.parametrize(
    ("mnemonic", "operands", "target"),
    [
        ("jmp", "*%rax", None),
        ("jmp", "*0x10(%rax)", None),
        ("call", "1000 <f>", None),
        ("b.lt", "a8 <f+0xa8>  // b.tstop", 0xA8),
        ("cbnz", "w0, 40 <f+0x40>", 0x40),
        ("tbnz", "x1, #3, 44 <f>", 0x44),
        ("b", "40", 0x40),
        ("loop", "40", 0x40),
        ("bl", "40 <g>", None),
    ],
)
def test_jumps_and_what_is_none(mnemonic: str, operands: str, target: int | None) -> None:
    parsed = parse_listing(f"0000000000000000 <f>:\n   0:\t{mnemonic}\t{operands}\n")
    assert parsed[0].instructions[0].jump_target == target


def test_raw_bytes_and_prefixes_are_passed_over() -> None:
    text = (
        "0000000000001000 <f>:\n"
        "    1000:\tc4 e2 5d 50 c4       \t{vex} vpdpbusd %ymm4,%ymm0,%ymm15\n"
        "    1005:\tf0 48 0f c1 07       \tlock xadd %rax,(%rdi)\n"
        "    100a:\t62                   \t(bad)\n"
        "    100b:\t1e4fe000 \tfmov\ts0, #1.0\n"
    )
    names = [each.mnemonic for each in parse_listing(text)[0].instructions]
    assert names == ["vpdpbusd", "xadd", "fmov"]


@given(st.text(max_size=400))
def test_no_text_makes_the_parser_fail(text: str) -> None:
    parse_listing(text)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 40),
            st.sampled_from(["jne", "b.ne", "vfmadd231ps", "fmla", "mov", "ldp", "vpdpbusd"]),
            st.text(alphabet="%xyzmv0123456789,()[]{}*#$<>-+ .", max_size=24),
        ),
        max_size=30,
    )
)
def test_no_listing_makes_the_search_for_loops_fail(
    lines: list[tuple[int, str, str]],
) -> None:
    body = "".join(f"  {address:x}:\t{name} {rest}\n" for address, name, rest in lines)
    functions = parse_listing(f"0000000000000000 <f>:\n{body}")
    for function in functions:
        for loop in innermost_loops(function):
            assert 0 < len(loop.instructions) <= len(function.instructions)
    find_main_loop(functions)


def test_a_function_without_jumps_has_no_loop() -> None:
    assert innermost_loops(Function("f", [Instruction(0, "ret", "")])) == []


@pytest.mark.parametrize("listing", sorted(LISTINGS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_recorded_listing_has_one_function_with_a_loop(listing: Path) -> None:
    (function,) = parse_listing(listing.read_text())
    assert innermost_loops(function)


def test_without_objdump_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="install binutils"):
        disassemble(tmp_path / "any.so")


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "text.so"
    file.write_text("not machine code")
    with pytest.raises(UnsupportedError, match=r"text\.so"):
        disassemble(file)


def test_a_disassembler_that_hangs_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("objdump", 60)

    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/objdump")
    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(UnsupportedError, match="TimeoutExpired"):
        disassemble(tmp_path / "a.so")
