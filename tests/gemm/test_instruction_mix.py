"""What objdump prints, read as functions and loops, and what the main loop is made of."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.errors import CompilerError, UnsupportedError
from topout.gemm.instruction_mix import (
    Function,
    Instruction,
    MainLoop,
    disassemble,
    find_main_loop,
    innermost_loops,
    main_loop,
    parse_listing,
    short_name,
)
from topout.kernels.gemm_ops import build_gemm, version_source

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

    monkeypatch.setattr(shutil, "which", lambda _, **__: "/usr/bin/objdump")
    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(UnsupportedError, match="TimeoutExpired"):
        disassemble(tmp_path / "a.so")


def loop_of(listing: str) -> MainLoop:
    found = find_main_loop(parse_listing((LISTINGS / f"{listing}.txt").read_text()))
    assert found is not None
    return found


def test_avx2_tile() -> None:
    """6 × 2 sums: 2 loads of B and 6 broadcasts, two pointers, a counter, its test and a jump."""
    loop = loop_of("simd_avx2")
    assert loop.mix.function == "multiply_tile<6>"
    assert (loop.mix.multiply_adds, loop.mix.loads, loop.mix.stores) == (12, 8, 0)
    assert (loop.mix.others, loop.instructions) == (5, 25)
    assert loop.mix.vector_bits == 256
    assert loop.mix.stack_references == 0
    assert loop.mix.per_multiply_add == pytest.approx(25 / 12)
    assert (loop.multiply_adds, loop.sums_in_registers, loop.chained) == (12 * 8, 12, 1.0)


@pytest.mark.parametrize(("listing", "values"), [("bf16_dot", 2), ("int8_vnni", 4)])
def test_dot_products_count_as_multiply_adds(listing: str, values: int) -> None:
    """6 × 4 sums of 16 lanes; each instruction takes 2 (bf16) or 4 (int8) products of a lane."""
    loop = loop_of(listing)
    assert (loop.mix.multiply_adds, loop.mix.loads, loop.mix.stack_references) == (24, 10, 0)
    assert loop.multiply_adds == 24 * 16 * values
    assert loop.sums_in_registers == 24
    assert loop.mix.vector_bits == 512


def test_arm_tile_with_spilled_sums() -> None:
    """24 fmla. Loads: of B ldp q twice (4), of A ldp s twice, ldr s, ld1r (6), spilled ldr q twice.

    stp of two sums is one reference to the stack, and stores two vectors.
    """
    loop = loop_of("simd_neon")
    assert (loop.mix.multiply_adds, loop.mix.loads, loop.mix.stores) == (24, 12, 2)
    assert loop.mix.stack_references == 3
    assert loop.mix.vector_bits == 128
    assert loop.multiply_adds == 24 * 4
    assert loop.sums_in_registers == 22  # the two others are reloaded in each turn


def test_a_prefix_of_the_encoding_does_not_hide_the_instruction() -> None:
    """{vex} vpdpbusd; one of 12 sums is on the stack, with a half-made broadcast: 3 references."""
    loop = loop_of("int8_avxvnni")
    assert loop.mix.multiply_adds == 12
    assert loop.mix.stack_references == 3
    assert loop.sums_in_registers == 11
    assert loop.multiply_adds == 12 * 8 * 4


def test_scalar_loop_of_arm() -> None:
    """ldr, ldr, fmadd and 3 more; one sum."""
    loop = loop_of("naive_arm")
    assert (loop.mix.multiply_adds, loop.mix.loads, loop.instructions) == (1, 2, 6)
    assert (loop.mix.vector_bits, loop.sums_in_registers, loop.chained) == (32, 1, 1.0)


def test_products_in_a_vector_and_sums_one_by_one() -> None:
    """mulps of four, then four addss to one register: four multiply-adds, each waiting."""
    loop = loop_of("naive_sse")
    assert (loop.mix.multiply_adds, loop.multiply_adds) == (4, 4)
    assert (loop.mix.vector_bits, loop.sums_in_registers) == (32, 1)
    assert loop.chained == 4.0
    assert (loop.fused, loop.arithmetic) == (0, 5)


def test_sums_in_memory_are_loaded_and_stored() -> None:
    """loop_order: load of B (in a move or the multiply-add), load and store of C."""
    loop = loop_of("loop_order_avx2")
    assert (loop.mix.multiply_adds, loop.mix.loads, loop.mix.stores) == (1, 2, 1)
    assert loop.sums_in_registers == 0


TWO_TILES = """
0000000000000000 <one_row>:
   0:\tvfmadd231ps (%rdi),%zmm0,%zmm1
   4:\tvfmadd231ps 0x40(%rdi),%zmm0,%zmm1
   8:\tvfmadd231ps 0x80(%rdi),%zmm0,%zmm1
   c:\tjne    0 <one_row>
0000000000000020 <two_rows>:
  20:\tvfmadd231ps %zmm3,%zmm0,%zmm1
  24:\tvfmadd231ps %zmm3,%zmm4,%zmm2
  28:\tjne    20 <two_rows>
"""


def test_the_larger_tile_is_taken_even_where_the_smaller_is_unrolled() -> None:
    found = find_main_loop(parse_listing(TWO_TILES))
    assert found is not None
    assert found.mix.function == "two_rows"


def test_without_multiplications_there_is_no_such_loop() -> None:
    text = "0000000000000000 <sum>:\n   0:\tvaddps (%rdi),%ymm0,%ymm0\n   4:\tjne    0 <sum>\n"
    assert find_main_loop(parse_listing(text)) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gemm._omp_fn.0", "gemm._omp_fn.0"),
        (
            "void topout::tile<topout::Fp32Product, 6, 4>(topout::TileWork const&)",
            "tile<Fp32Product, 6, 4>",
        ),
        ("(anonymous namespace)::rows(float const*, long) [clone ._omp_fn.0]", "rows"),
        ("void (anonymous namespace)::multiply_tile<6>(float const*)", "multiply_tile<6>"),
        ("", ""),
    ],
)
def test_short_names(name: str, said: str) -> None:
    assert short_name(name) == said


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
def test_the_compiled_micro_kernel_keeps_its_sums_in_registers() -> None:
    try:
        build = build_gemm(version_source("simd"), "fp32", "simd")
    except CompilerError as missing:
        pytest.skip(str(missing))
    loop = main_loop(build.path)
    assert loop.mix.function.startswith("multiply_tile<")
    assert loop.mix.per_multiply_add < 4
    if loop.mix.vector_bits >= 256:
        assert loop.mix.stack_references == 0
        assert loop.mix.multiply_adds >= 12


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
def test_a_library_that_only_copies_is_said_to_have_no_such_loop(tmp_path: Path) -> None:
    source = tmp_path / "copy.cpp"
    source.write_text(
        '#include "gemm.h"\n'
        "void gemm(const Input*, const Input*, Output* c, std::int64_t m, std::int64_t n,\n"
        "          std::int64_t, std::int64_t, std::int64_t, std::int64_t, int) {\n"
        "  for (std::int64_t i = 0; i < m * n; ++i) c[i] = 0;\n}\n"
    )
    try:
        build = build_gemm(source, "fp32", "own")
    except CompilerError as missing:
        pytest.skip(str(missing))
    with pytest.raises(UnsupportedError, match="no loop"):
        main_loop(build.path)
