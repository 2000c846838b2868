"""Kernels of small modules by hand: what is fused, joined, kept, and goes through memory."""

from typing import Any

import torch
from torch import Tensor, nn

from topout.cost.graph.kernels import Kernel
from topout.cost.graph.module_count import ModuleCount, Run
from topout.cost.ops import Op

B, C, F = 3, 8, 20  # rows, width, inner width; numbers of 4 bytes


class Gated(nn.Module):
    """An MLP whose two first matrices read one input."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(C, F, bias=False), nn.Linear(C, F, bias=False)
        self.down = nn.Linear(F, C, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(nn.functional.silu(self.gate(x)) * self.up(x))
        return out


class Layer(nn.Module):
    """A norm, the MLP and the sum with the input, as in a transformer."""

    def __init__(self, *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.norm, self.mlp = nn.LayerNorm(C), Gated()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.mlp(self.norm(x)) * self.scale
        return out


class Stack(nn.Module):
    """Layers one after the other; `scales` tells their kinds apart."""

    def __init__(self, scales: list[float]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(scale=scale) for scale in scales)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def on_meta(module: nn.Module) -> nn.Module:
    return module.to("meta")


def counted(module: nn.Module, *, skip: bool = True, rows: int = B) -> tuple[ModuleCount, Run]:
    count = ModuleCount(on_meta(module), sees=False, skip=skip)
    x = torch.empty(rows, C, device="meta")
    return count, count.run(lambda: module(x), lambda result: [])


def kernels(module: nn.Module) -> list[Kernel]:
    _, run = counted(module)
    return run.fused.kernels


def test_two_matrices_of_one_input_are_one_product_and_what_is_between_is_one_kernel() -> None:
    _, both, between, down, _ = kernels(Stack([1.0]))
    assert [each.kind for each in (both, between, down)] == ["linear", "elementwise", "linear"]
    assert (both.rows, both.k, both.n) == (B, C, 2 * F)
    assert both.flops == 2 * B * C * 2 * F
    assert both.weight_bytes == 4 * 2 * C * F
    assert both.activation_bytes == 4 * (B * C + 2 * B * F)  # the input once
    assert between.activation_bytes == 4 * (2 * B * F + B * F)  # silu's output stays inside
    assert down.activation_bytes == 4 * (B * F + B * C)


def test_a_layer_reads_its_input_for_the_norm_and_for_the_sum() -> None:
    norm, *_, rest = kernels(Stack([1.0]))
    assert (norm.part, rest.part) == ("norms", "residuals")
    assert norm.activation_bytes == 4 * 2 * B * C
    assert norm.weight_bytes == 4 * 2 * C
    # What the MLP gave and the input are read, the sum is written; scaling stays inside.
    assert rest.activation_bytes == 4 * 3 * B * C


def test_what_nobody_reads_is_not_written() -> None:
    class Wasteful(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x.exp()
            return x.sin()

    (kernel,) = kernels(Wasteful())
    assert kernel.activation_bytes == 4 * 2 * B * C


def test_halves_of_one_memory_are_read_once_each() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.both = nn.Linear(C, 2 * F, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            one, other = self.both(x).chunk(2, dim=-1)
            out: Tensor = one.sin() * other * one
            return out

    _, product = kernels(Halves())
    assert product.activation_bytes == 4 * (2 * B * F + B * F)


def test_what_the_backward_needs() -> None:
    _, run = counted(Stack([1.0, 2.0]))
    # The MLP's input, the activation's, the other factor, the second matrix' input; and the norm's
    # input, which in the first layer is the input of all and needs no gradient.
    inside = B * C + 3 * B * F
    assert run.fused.kept.by_layer == {"layers.0": 4.0 * (inside + B * C), "layers.1": 4.0 * inside}


def test_layers_of_one_kind_are_counted_as_many_as_they_are() -> None:
    scales = [1.0, 1.0, 2.0, 1.0, 2.0, 2.0, 1.0]
    some, fast = counted(Stack(scales))
    every, whole = counted(Stack(scales), skip=False)
    # Of 4 the first stands for 3 and of 3 for 2; the last of each for itself.
    assert sorted(fast.times.values()) == [1, 1, 2, 3]
    assert as_figures(some.ops(fast.fused)) == as_figures(every.ops(whole.fused))
    assert len(fast.log.calls) < len(whole.log.calls)


def test_another_setting_is_another_kind() -> None:
    _, run = counted(Stack([1.0, 2.0, 3.0, 4.0]))
    assert run.times == {}


def test_layers_that_are_given_other_shapes_are_run() -> None:
    class Narrowing(Stack):
        def forward(self, x: Tensor) -> Tensor:
            for number, layer in enumerate(self.layers):
                x = layer(x[: len(x) - number])
            return x

    _, run = counted(Narrowing([1.0] * 4), rows=10)
    rows = sorted({kernel.rows for kernel in run.fused.kernels if kernel.kind == "linear"})
    assert rows == [4.0, 7.0, 9.0, 10.0]


class Caching(nn.Module):
    """Joins what is new to what it was given, and reads all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.k = nn.Linear(C, F, bias=False)

    def forward(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        cache = torch.cat([before, self.k(x)])
        return cache.sin().sum(dim=0), cache


def test_a_cache_is_written_as_far_as_it_is_new_and_read_as_a_whole() -> None:
    module = on_meta(Caching())
    count = ModuleCount(module, sees=False)
    x, before = torch.empty(1, C, device="meta"), torch.empty(6, F, device="meta")
    run = count.run(lambda: module(x, before), lambda result: [result[1]], [before])
    _, rest = run.fused.kernels
    assert rest.cache_bytes == 4 * F * (1 + 7)  # one row is joined; then all seven are read
    (op,) = (op for op in count.ops(run.fused) if op.kv_elements)
    assert op.kv_elements == 8 * F


def test_experts_are_read_as_far_as_they_are_chosen() -> None:
    kernel = Kernel(
        path="mlp.experts",
        part="mlp",
        kind="linear",
        times=5,
        rows=6.0,  # 3 tokens, 2 of 4 experts each
        k=C,
        n=F,
        experts=(4, 2),
        flops=2.0 * 6 * C * F,
    )
    from topout.cost.graph.kernel_ops import kernel_ops

    (op,) = kernel_ops([kernel], lambda path: path, 4)
    touched = 4 * (1 - (1 - 2 / 4) ** 3)  # 3.5
    assert op.weight_elements == 5 * touched * C * F
    assert op.shape == f"3.5 of 4 experts, 2×{C} · {C}×{F}"
    assert op.flops == 5 * 2 * 6 * C * F


def as_figures(ops: list[Op]) -> dict[Any, Any]:
    return {(op.name, op.shape): (op.count, op.flops, op.activation_elements) for op in ops}
