"""What Arm instructions do, one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.gemm.arm_instructions import arm_role
from topout.gemm.disassembly import Instruction


def role(text: str, frame_pointer: bool = False):  # type: ignore[no-untyped-def]
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
def test_roles(text: str, kind: str | None, lanes: int, loads: int, stores: int) -> None:
    found = role(text)
    assert (found.arithmetic, found.lanes) == (kind, lanes)
    assert (found.loads, found.stores) == (loads, stores)


def test_fmla_adds_to_its_first_operand_and_fmadd_to_its_last() -> None:
    assert role("fmla v11.4s, v3.4s, v17.s[0]").reads == {"v11", "v3", "v17"}
    found = role("fmadd s4, s1, s2, s0")
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
def test_spills(text: str, frame_pointer: bool, on_stack: bool) -> None:
    assert role(text, frame_pointer).on_stack is on_stack


@given(st.text(max_size=20), st.text(max_size=60), st.booleans())
def test_no_instruction_makes_it_fail(mnemonic: str, operands: str, pointer: bool) -> None:
    found = arm_role(Instruction(0, mnemonic, operands), pointer)
    assert found.loads in (0, 1, 2)
    assert found.stores in (0, 1, 2)
