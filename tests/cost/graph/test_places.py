"""Which module an op belongs to, in the forward, the backward and when it runs again."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from topout.cost.graph import count, counting
from topout.records.count import Count, ModuleCount


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(4, 8)
        self.down = nn.Linear(8, 4)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return value @ value.mT @ self.down(torch.tanh(self.up(value)))


class Network(nn.Module):
    """Two blocks, of which the first may be recomputed, and a head that is called twice."""

    def __init__(self, recompute: bool | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(4, 2)
        self.recompute = recompute

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        first, second = self.blocks
        if self.recompute is None:
            value = first(value)
        else:
            value = checkpoint(first, value, use_reentrant=self.recompute)
        value = second(value)
        return self.head(value) + self.head(value)


def flops(counted: Count, name: str, exclusive: bool = False) -> dict[str, int]:
    module = named(counted, name)
    works = module.exclusive if exclusive else module.inclusive
    return {phase: work.flops for phase, work in works.items() if work.flops}


def named(counted: Count, name: str) -> ModuleCount:
    return next(module for module in counted.modules if module.name == name)


def run(recompute: bool | None = None) -> Count:
    return count(Network(recompute), torch.ones(3, 4, requires_grad=True), backward=True)


# Block on 3 rows: up and down 2·3·4·8 = 192 each; value·valueᵀ 2·3·4·3 = 72, times down's 72.
_UP, _OWN = 192, 144
_BLOCK = 2 * _UP + _OWN


def test_each_module_gets_its_own_work_and_that_of_its_parts() -> None:
    counted = run()
    assert flops(counted, "blocks.0.up") == {"forward": _UP, "backward": 2 * _UP}
    assert flops(counted, "blocks.0", exclusive=True) == {"forward": _OWN, "backward": 2 * _OWN}
    assert flops(counted, "blocks.0") == {"forward": _BLOCK, "backward": 2 * _BLOCK}
    # The head runs twice: 2 · 2·3·4·2.
    assert flops(counted, "head") == {"forward": 96, "backward": 192}
    assert named(counted, "head").calls == 2
    whole = 2 * _BLOCK + 96
    assert flops(counted, "") == {"forward": whole, "backward": 2 * whole}


def test_parts_sum_to_the_whole() -> None:
    counted = run()
    for figure in ("calls", "flops", "causal_flops", "other_flops", "bytes"):
        rows = sum(getattr(row.work, figure) for row in counted.rows)
        ops = sum(getattr(op.work, figure) for op in counted.ops)
        own = sum(getattr(w, figure) for m in counted.modules for w in m.exclusive.values())
        phases = sum(getattr(work, figure) for work in counted.phases.values())
        assert rows == ops == own == phases == getattr(counted.total, figure)
    root = named(counted, "")
    assert root.inclusive == counted.phases


def test_modules_come_in_the_order_of_the_model_with_their_types() -> None:
    counted = run()
    assert [(module.name, module.type) for module in counted.modules[:3]] == [
        ("", "Network"),
        ("blocks.0", "Block"),
        ("blocks.0.up", "Linear"),
    ]


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputation_is_a_phase_of_its_own(reentrant: bool) -> None:
    counted = run(reentrant)
    plain = run()
    assert counted.phases["forward"].flops == plain.phases["forward"].flops
    assert counted.phases["backward"].flops == plain.phases["backward"].flops
    # The first block alone runs again; the other kind stops before its last product, 2·3·3·4,
    # whose result nobody needs.
    again = _BLOCK if reentrant else _BLOCK - 72
    assert flops(counted, "blocks.0")["recomputation"] == again
    assert flops(counted, "blocks.0.up")["recomputation"] == _UP
    assert "recomputation" not in flops(counted, "blocks.1")
    assert "recomputation" not in plain.phases


def test_storing_a_gradient_belongs_to_the_parameters_module() -> None:
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.Tanh())
    value = torch.ones(3, 4)
    with counting(model) as counter:
        model(value).sum().backward()
        model(value).sum().backward()  # the second is added to the first
    stored = [row for row in counter.count().rows if row.name == "aten::add_"]
    assert {row.module for row in stored} == {"0"}


def test_a_custom_function_is_at_home_where_it_was_called() -> None:
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):  # type: ignore[no-untyped-def]
            ctx.save_for_backward(value)
            ctx.variable = value  # a name that autograd's own nodes use
            return value @ value

        @staticmethod
        def backward(ctx, gradient):  # type: ignore[no-untyped-def]
            (value,) = ctx.saved_tensors
            return gradient @ value.mT + value.mT @ gradient

    class Layer(nn.Module):
        def forward(self, value: torch.Tensor) -> torch.Tensor:
            return Square.apply(value)

    counted = count(nn.Sequential(Layer()), torch.ones(4, 4, requires_grad=True), backward=True)
    assert flops(counted, "0") == {"forward": 128, "backward": 256}


def test_modules_outside_of_the_target_are_named_after_their_class() -> None:
    one, two = nn.Linear(4, 4), nn.Linear(4, 2)

    def both(value: torch.Tensor) -> torch.Tensor:
        return two(one(value))

    counted = count(both, torch.ones(3, 4), backward=True)
    assert counted.target.endswith("both")
    assert [module.name for module in counted.modules] == ["", "Linear", "Linear#2"]
    assert flops(counted, "Linear#2") == {"forward": 48, "backward": 96}


def test_a_method_of_a_module_names_its_parts() -> None:
    counted = count(Network().forward, torch.ones(3, 4))
    assert "blocks.1.down" in {module.name for module in counted.modules}


def test_a_module_that_calls_itself_counts_once() -> None:
    class Twice(nn.Module):
        def forward(self, value: torch.Tensor, again: bool = True) -> torch.Tensor:
            return self(value @ value, False) if again else value @ value

    counted = count(Twice(), torch.ones(4, 4))
    assert flops(counted, "") == {"forward": 256}
    assert named(counted, "").calls == 2
