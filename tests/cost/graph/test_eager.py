"""Compiled and scripted targets are counted as what they were made from."""

import torch
from torch import nn

from topout.cost.graph import count
from topout.cost.graph.counter import uncompiled
from topout.op_by_op import op_by_op


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))


def test_a_compiled_module_is_its_original() -> None:
    model = network()
    value = torch.ones(2, 8)
    counted = count(torch.compile(model), value, backward=True)
    assert counted == count(model, value, backward=True)


def test_a_compiled_function_and_a_compiled_part() -> None:
    compiled = torch.compile(lambda value: value @ value, backend="eager")
    compiled(torch.ones(4, 4))
    assert count(compiled, torch.ones(4, 4)).total.flops == 128
    inner = nn.Sequential(torch.compile(nn.Linear(4, 4), backend="eager"))  # type: ignore[arg-type]
    inner(torch.ones(4, 4))
    assert count(inner, torch.ones(4, 4)).total.flops == 128


def test_scripted_and_traced_modules() -> None:
    model = network()
    value = torch.ones(2, 8)
    plain = count(model, value).total
    for made in (torch.jit.script(model), torch.jit.trace(model, value)):
        for _ in range(3):  # the JIT specialises after some runs
            made(value)
        assert count(made, value).total == plain


def test_an_exported_program() -> None:
    model = network()
    exported = torch.export.export(model, (torch.ones(2, 8),)).module()
    assert count(exported, torch.ones(2, 8)).total.flops == 2 * 2 * (8 * 16 + 16 * 4)


def test_the_fast_path_is_put_back() -> None:
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with op_by_op():
            pass
        assert not torch.backends.mha.get_fastpath_enabled()
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_what_was_not_compiled_is_itself() -> None:
    model = network()
    assert uncompiled(model) is model
    assert uncompiled(torch.mm) is torch.mm
