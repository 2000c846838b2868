"""What instructions of x86 and of Arm do, one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.gemm.instructions import Instruction, arm_role, x86_role


def role(text: str, frame_pointer: bool = False):  # type: ignore[no-untyped-def]
    mnemonic, _, operands = text.partition(" ")
    return x86_role(Instruction(0, mnemonic, operands.strip()), frame_pointer)


@pytest.mark.parametrize(
    ("text", "kind", "lanes", "bits", "loads", "stores"),
    [
        ("vfmadd231ps (%rax),%zmm0,%zmm3", "multiply-add", 16, 512, 1, 0),
        ("vfmadd231ps (%rax){1to16},%zmm0,%zmm3", "multiply-add", 16, 512, 1, 0),
        ("vfmadd132ss 0x4(%r13,%rdi,4),%xmm5,%xmm0", "multiply-add", 1, 32, 1, 0),
        ("vfnmadd231pd %ymm1,%ymm0,%ymm3", "multiply-add", 4, 256, 0, 0),
        ("vdpbf16ps %zmm1,%zmm2,%zmm3", "multiply-add", 32, 512, 0, 0),
        ("vpdpbusd %ymm1,%ymm2,%ymm3", "multiply-add", 32, 256, 0, 0),
        ("vpdpbusds %zmm1,%zmm2,%zmm3", "multiply-add", 64, 512, 0, 0),
        ("vpdpwssd %zmm1,%zmm2,%zmm3", "multiply-add", 32, 512, 0, 0),
        ("mulps %xmm4,%xmm0", "multiply", 4, 128, 0, 0),
        ("addss %xmm0,%xmm1", "add", 1, 32, 0, 0),
        ("vpmaddwd %ymm1,%ymm2,%ymm3", "multiply", 16, 256, 0, 0),
        ("pmuludq %xmm1,%xmm2", "multiply", 2, 128, 0, 0),
        ("vmovaps (%rsi),%zmm27", None, 0, 512, 1, 0),
        ("vmovups %zmm0,(%r10,%rbx,4)", None, 0, 512, 0, 1),
        ("vbroadcastss -0x18(%rdi),%zmm28", None, 0, 512, 1, 0),
        ("mov (%rax,%rsi,1),%r13d", None, 0, 0, 1, 0),
        ("cmpq $0xf,0x88(%rsp)", None, 0, 0, 1, 0),
        ("addq $0x1,0x8(%rsp)", None, 0, 0, 1, 1),
        ("lea 0x0(,%rax,4),%rbx", None, 0, 0, 0, 0),
        ("prefetcht0 0x40(%rax)", None, 0, 0, 0, 0),
        ("nopl 0x0(%rax)", None, 0, 0, 0, 0),
        ("vgatherdps (%rax,%zmm1,4),%zmm2{%k1}", None, 0, 512, 16, 0),
        ("jne 1250 <tile(float const*)+0xc0>", None, 0, 0, 0, 0),
        ("inc %rcx", None, 0, 0, 0, 0),
        ("ret", None, 0, 0, 0, 0),
    ],
)
def test_roles(text: str, kind: str | None, lanes: int, bits: int, loads: int, stores: int) -> None:
    found = role(text)
    assert (found.arithmetic, found.lanes, found.vector_bits) == (kind, lanes, bits)
    assert (found.loads, found.stores) == (loads, stores)


def test_a_multiply_add_reads_what_it_writes() -> None:
    found = role("vfmadd231ps %zmm28,%zmm27,%zmm22")
    assert found.writes == "v22"
    assert found.reads == {"v22", "v27", "v28"}


def test_an_addition_of_three_operands_does_not() -> None:
    assert role("vaddps %ymm1,%ymm2,%ymm3").reads == {"v1", "v2"}


@pytest.mark.parametrize(
    ("text", "frame_pointer", "on_stack"),
    [
        ("vmovaps %zmm3,0xc0(%rsp)", False, True),
        ("vmovaps -0x40(%rbp),%ymm3", True, True),
        ("vmovaps -0x40(%rbp),%ymm3", False, False),  # any other pointer
        ("mov 0x60(%rsp),%r8", False, False),  # no vector
        ("vmovaps (%rsi),%ymm3", True, False),
    ],
)
def test_spills(text: str, frame_pointer: bool, on_stack: bool) -> None:
    assert role(text, frame_pointer).on_stack is on_stack


@given(st.text(max_size=20), st.text(max_size=60), st.booleans())
def test_no_instruction_makes_it_fail(mnemonic: str, operands: str, pointer: bool) -> None:
    found = x86_role(Instruction(0, mnemonic, operands), pointer)
    assert found.loads >= 0
    assert found.stores in (0, 1)


def arm_role_of(text: str, frame_pointer: bool = False):  # type: ignore[no-untyped-def]
    mnemonic, _, operands = text.partition(" ")
    return arm_role(Instruction(0, mnemonic, operands.strip()), frame_pointer)


@pytest.mark.parametrize(
    ("text", "kind", "lanes", "loads", "stores"),
    [
        ("fmla v11.4s, v3.4s, v17.s[0]", "multiply-add", 4, 0, 0),
        ("fmla v11.2d, v3.2d, v17.2d", "multiply-add", 2, 0, 0),
        ("fmadd s0, s1, s2, s0", "multiply-add", 1, 0, 0),
        ("sdot v0.4s, v1.16b, v2.4b[1]", "multiply-add", 16, 0, 0),
        ("bfdot v0.4s, v1.8h, v2.8h", "multiply-add", 8, 0, 0),
        ("smmla v0.4s, v1.16b, v2.16b", "multiply-add", 32, 0, 0),
        ("fmul v0.4s, v1.4s, v2.4s", "multiply", 4, 0, 0),
        ("add v0.4s, v1.4s, v2.4s", "add", 4, 0, 0),
        ("add x4, x4, #0x1", None, 0, 0, 0),
        ("madd x0, x1, x2, x3", None, 0, 0, 0),
        ("ldr q3, [sp, #176]", None, 0, 1, 0),
        ("ldp q1, q0, [x1, #32]", None, 0, 2, 0),
        ("ld1r {v18.4s}, [x0]", None, 0, 1, 0),
        ("stp q4, q4, [sp, #160]", None, 0, 0, 2),
        ("str s0, [x5], #4", None, 0, 0, 1),
        ("b.ne a8 <f+0xa8>", None, 0, 0, 0),
        ("ret ", None, 0, 0, 0),
    ],
)
def test_roles_on_arm(text: str, kind: str | None, lanes: int, loads: int, stores: int) -> None:
    found = arm_role_of(text)
    assert (found.arithmetic, found.lanes) == (kind, lanes)
    assert (found.loads, found.stores) == (loads, stores)


def test_fmla_adds_to_its_first_operand_and_fmadd_to_its_last() -> None:
    assert arm_role_of("fmla v11.4s, v3.4s, v17.s[0]").reads == {"v11", "v3", "v17"}
    found = arm_role_of("fmadd s4, s1, s2, s0")
    assert (found.writes, found.reads) == ("v4", {"v1", "v2", "v0"})


@pytest.mark.parametrize(
    ("text", "frame_pointer", "on_stack"),
    [
        ("ldr q3, [sp, #176]", False, True),
        ("str q3, [x29, #16]", True, True),
        ("str q3, [x29, #16]", False, False),
        ("ldr x3, [sp, #16]", False, False),
    ],
)
def test_spills_on_arm(text: str, frame_pointer: bool, on_stack: bool) -> None:
    assert arm_role_of(text, frame_pointer).on_stack is on_stack


@given(st.text(max_size=20), st.text(max_size=60), st.booleans())
def test_no_instruction_of_arm_makes_it_fail(mnemonic: str, operands: str, pointer: bool) -> None:
    found = arm_role(Instruction(0, mnemonic, operands), pointer)
    assert found.loads in (0, 1, 2)
    assert found.stores in (0, 1, 2)
