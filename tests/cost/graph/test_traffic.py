"""Compulsory bytes, and memory that is filled out of sight."""

import torch
from torch import nn

from topout.cost.graph import count, counting

from .one_op import meta


def test_parameters_inputs_and_outputs_once() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    counted = count(model, torch.ones(3, 4))
    # Parameters 4·8 + 8 + 8·2 + 2 = 58, input 12, output 6.
    assert counted.compulsory_bytes == 4 * (58 + 12 + 6)
    by_name = {module.name: module.compulsory_bytes for module in counted.modules}
    assert by_name["0"] == 4 * (40 + 12 + 24)
    assert by_name["1"] == 4 * (24 + 24)
    assert by_name[""] == counted.compulsory_bytes
    assert counted.compulsory_bytes < counted.total.bytes


def test_an_embedding_needs_its_rows_alone() -> None:
    counted = count(nn.Embedding(1000, 8, device="meta"), meta(5, dtype=torch.int64))
    # 5 rows of 8, 5 indices of 8 bytes, 5 rows out.
    assert counted.compulsory_bytes == 160 + 40 + 160


def test_a_weight_that_is_read_twice_is_needed_once() -> None:
    layer = nn.Linear(4, 4, bias=False)
    counted = count(lambda value: layer(layer(value)), torch.ones(3, 4))
    assert counted.compulsory_bytes == 4 * (16 + 12 + 12)
    (_, module) = counted.modules
    assert module.compulsory_bytes == 2 * 4 * (16 + 12 + 12)  # per call


def test_a_cache_that_is_changed_is_moved() -> None:
    cache = torch.zeros(100, 4)

    def step(new: torch.Tensor) -> torch.Tensor:
        cache[:1] = new
        return cache[:10].sum(0)

    counted = count(step, torch.ones(4))
    # The new row in, one row of the cache written, ten read, the sum out.
    assert counted.compulsory_bytes == 4 * (4 + 4 + 40 + 4)


def test_the_same_with_and_without_gradients() -> None:
    model = nn.Linear(4, 2)
    with torch.no_grad():
        without = count(model, torch.ones(3, 4))
    assert count(model, torch.ones(3, 4), backward=True).compulsory_bytes == (
        without.compulsory_bytes
    )


def test_memory_filled_past_the_dispatcher_is_reported() -> None:
    class Outside(nn.Module):
        """As a kernel started by hand would do it."""

        def forward(self, value: torch.Tensor) -> torch.Tensor:
            result = torch.empty(3)
            result.numpy()[:] = 1.0
            return result + value

    counted = count(nn.Sequential(Outside()), torch.ones(3))
    (missing,) = counted.not_counted
    assert (missing.name, missing.module) == ("outside of the dispatcher", "0")
    assert missing.bytes == 12


def test_memory_filled_by_ops_is_not() -> None:
    def run() -> None:
        for fill in (torch.Tensor.zero_, torch.Tensor.normal_, lambda x: x.copy_(torch.ones(3))):
            reserved = torch.empty(3)
            fill(reserved)
            reserved + 1
        torch.add(torch.ones(3), 1, out=torch.empty(3))
        torch.cat([torch.empty(0), torch.ones(3)])
        parts = [torch.empty(3), torch.empty(3)]
        torch._foreach_copy_(parts, [torch.ones(3), torch.ones(3)])
        parts[0] + parts[1]
        torch.empty(3, 2)[:, 0].fill_(1.0).sum()

    assert count(run).not_counted == []


def test_without_a_result_there_is_no_figure() -> None:
    with counting() as counter:
        torch.ones(3) + 1
    assert counter.count().compulsory_bytes is None
