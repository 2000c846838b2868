"""Lookups touch rows, not tables."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from topout.cost.graph import count

from .one_op import meta, only, rows_of

_TABLE = 100 * 8 * 4  # bytes of a hundred rows of 8 fp32
_INDEX = torch.tensor([[1, 2, 3], [3, 3, 4]])
_ROWS = 6 * 8 * 4  # bytes of the rows that six indices name
_INDICES = 6 * 8  # bytes of the indices


def test_an_embedding_is_no_product() -> None:
    row = only(nn.Embedding(100, 8), _INDEX)
    assert (row.work.flops, row.work.other_flops, row.family) == (0, 0, "lookup")
    assert row.work.read_bytes == _ROWS + _INDICES
    assert row.work.written_bytes == _ROWS


def test_its_gradient_is_a_whole_table() -> None:
    counted = count(nn.Embedding(100, 8), _INDEX, backward=True)
    (row,) = rows_of(counted, "aten::embedding_dense_backward", "backward")
    assert row.work.written_bytes == _TABLE
    assert row.work.read_bytes == _ROWS + _INDICES
    assert row.work.other_flops == 48
    assert counted.total.flops == 0


def test_a_bag_adds_its_rows_up() -> None:
    counted = count(nn.EmbeddingBag(100, 8, mode="sum"), _INDEX, backward=True)
    (row,) = rows_of(counted, "aten::_embedding_bag")
    assert row.work.other_flops == 48
    assert row.work.read_bytes == _ROWS + _INDICES + 2 * 8  # two offsets
    assert counted.not_counted == []


@pytest.mark.parametrize(
    "run",
    [
        lambda table: table[_INDEX.flatten()],
        lambda table: table.index_select(0, _INDEX.flatten()),
        lambda table: table.gather(0, _INDEX.flatten()[:, None].expand(6, 8)),
    ],
)
def test_reads_what_it_returns(run: Callable[[torch.Tensor], torch.Tensor]) -> None:
    work = only(run, torch.ones(100, 8)).work
    assert work.read_bytes == _ROWS + _INDICES
    assert work.written_bytes == _ROWS


def test_writing_into_a_cache_touches_its_rows_alone() -> None:
    cache, new = torch.zeros(100, 8), torch.ones(6, 8)
    positions = torch.arange(6)

    def run(cache: torch.Tensor) -> None:
        cache[positions] = new

    work = only(run, cache).work
    assert work.read_bytes == _ROWS + _INDICES  # the new rows, their places
    assert work.written_bytes == _ROWS


@pytest.mark.parametrize(
    ("run", "read"),
    [
        (lambda c, i, n: c.index_copy_(0, i, n), _ROWS + _INDICES),
        # The old rows are read to be added to.
        (lambda c, i, n: c.index_add_(0, i, n), 2 * _ROWS + _INDICES),
        (lambda c, i, n: c.index_put_((i,), n, accumulate=True), 2 * _ROWS + _INDICES),
        (lambda c, i, n: c.index_fill_(0, i, 1.0), _INDICES),
        (lambda c, i, n: c.scatter_(0, i[:, None].expand(6, 8), n), _ROWS + _INDICES),
    ],
)
def test_in_place_writes(run: Callable[..., torch.Tensor], read: int) -> None:
    work = only(run, torch.zeros(100, 8), torch.arange(6), torch.ones(6, 8)).work
    assert (work.read_bytes, work.written_bytes) == (read, _ROWS)


def test_out_of_place_the_whole_is_copied() -> None:
    work = only(torch.index_add, meta(100, 8), 0, meta(6, dtype=torch.int64), meta(6, 8)).work
    assert work.read_bytes == _TABLE + _ROWS + _INDICES
    assert work.written_bytes == _TABLE
    assert work.other_flops == 48


def test_a_mask_may_name_every_element() -> None:
    def run(target: torch.Tensor) -> None:
        target[torch.ones(100, dtype=torch.bool)] = 0.0

    counted = count(run, torch.ones(100, 8))
    (row,) = rows_of(counted, "aten::index_put_")
    assert row.work.written_bytes == _TABLE


def test_the_loss_reads_one_probability_a_row() -> None:
    loss = nn.CrossEntropyLoss()
    counted = count(loss, meta(6, 100, grad=True), meta(6, dtype=torch.int64), backward=True)
    (row,) = rows_of(counted, "aten::nll_loss_forward")
    assert row.work.read_bytes == 6 * 4 + 6 * 8
    (back,) = rows_of(counted, "aten::nll_loss_backward", "backward")
    assert back.work.written_bytes == 6 * 100 * 4
    assert counted.not_counted == []
