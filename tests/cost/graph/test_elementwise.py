"""`other_flops`: one for each element written, and the exceptions by hand."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from topout.cost.graph import count

from .one_op import meta, only, rows_of


@pytest.mark.parametrize(
    ("run", "flops"),
    [
        (lambda x: x + 1, 24),
        (lambda x: x.mul_(2), 24),
        (lambda x: torch.exp(x), 24),
        (lambda x: F.gelu(x), 24),
        (lambda x: x > 0, 24),
        (lambda x: x[:, :1] + x[:1], 24),  # broadcast: what is written counts
        (lambda x: torch.addcmul(x, x, x), 48),
        (lambda x: torch.lerp(x, x, 0.5), 72),
        (lambda x: x.softmax(-1), 5 * 24),
        (lambda x: x.log_softmax(-1), 5 * 24),
        (lambda x: F.layer_norm(x, (6,)), 7 * 24),
        (lambda x: F.group_norm(x, 2), 7 * 24),
        (lambda x: F.batch_norm(x, meta(6), meta(6)), 4 * 24),
        (lambda x: F.batch_norm(x, None, None, training=True), 7 * 24),
        (lambda x: x.sum(), 24),
        (lambda x: x.mean(0), 24),
        (lambda x: x.var(), 4 * 24),
        (lambda x: x.norm(), 2 * 24),
        (lambda x: x.cumsum(0), 24),
        (lambda x: F.max_pool2d(x[None], 2), 4 * 6),  # 2×3 windows of 4
        (lambda x: F.avg_pool2d(x[None], (2, 3)), 6 * 4),  # 2×2 windows of 6
        (lambda x: F.interpolate(x[None, None], scale_factor=2, mode="bilinear"), 7 * 96),
        (lambda x: torch._foreach_add([x, x], 1.0), 48),
    ],
)
def test_hand_counts(run: Callable[[torch.Tensor], object], flops: int) -> None:
    counted = count(run, meta(4, 6))
    assert counted.complete, counted.failure
    assert (counted.total.flops, counted.total.other_flops) == (0, flops)
    assert counted.not_counted == []


def test_rms_norm_is_counted_whether_it_comes_whole_or_in_parts() -> None:
    counted = count(F.rms_norm, torch.ones(4, 6), (6,), torch.ones(6))
    assert counted.total.other_flops >= 4 * 24
    assert counted.not_counted == []


def test_integers_and_booleans_do_no_floating_point_work() -> None:
    numbers = meta(4, 6, dtype=torch.int64)
    counted = count(lambda: (numbers + 1, numbers > 2, numbers.sum(), numbers & 1))
    assert counted.total.other_flops == 0
    assert counted.total.bytes > 0


def test_complex_numbers() -> None:
    numbers = meta(4, 6, dtype=torch.complex64)
    assert only(torch.add, numbers, numbers).work.other_flops == 48
    # 4 products, a sum and a difference.
    assert only(torch.mul, numbers, numbers).work.other_flops == 6 * 24


def test_bytes_of_a_sum_of_two_and_of_a_thing_and_itself() -> None:
    one, two = meta(4, 6), meta(4, 6)
    assert only(torch.add, one, two).work.read_bytes == 2 * 96
    assert only(torch.add, one, one).work.read_bytes == 96
    in_place = only(lambda: one.add_(two)).work
    assert (in_place.read_bytes, in_place.written_bytes) == (2 * 96, 96)
    into = only(lambda: torch.add(one, two, out=meta(4, 6))).work
    assert (into.read_bytes, into.written_bytes) == (2 * 96, 96)


def test_broadcast_arguments_are_read_as_they_are_stored() -> None:
    work = only(lambda: meta(4, 6) + meta(6).expand(4, 6)).work
    assert work.read_bytes == 96 + 24


def test_backward_of_a_norm_by_hand() -> None:
    counted = count(nn.LayerNorm(6, device="meta"), meta(4, 6, grad=True), backward=True)
    (row,) = rows_of(counted, "aten::native_layer_norm_backward", "backward")
    assert row.work.other_flops == 13 * 24


@pytest.mark.parametrize(("fused", "per_parameter"), [(True, 14), (False, 10)])
def test_an_optimizer_step(fused: bool, per_parameter: int) -> None:
    """Foreach: decay 1, lerp 3, square 1 and its addcmul 2, root 1, divide 1, add 1, addcdiv 2."""
    from topout.cost.graph import counting

    layer = nn.Linear(8, 8)
    steps = torch.optim.AdamW(layer.parameters(), fused=fused, foreach=not fused)
    for _ in range(2):
        layer(torch.ones(1, 8)).sum().backward()
        with counting(layer) as counter:
            steps.step()
    counted = counter.count()
    least, most = per_parameter * 72, (per_parameter + 3) * 72
    assert least <= counted.total.other_flops <= most
    assert counted.not_counted == []


_BYTES = 6 * 4  # of 2×3 fp32


@pytest.mark.parametrize(
    ("run", "read", "written"),
    [
        (lambda x: x.clone(), _BYTES, _BYTES),
        (lambda x: x.t().contiguous(), _BYTES, _BYTES),
        (lambda x: x.to(torch.float64), _BYTES, 2 * _BYTES),
        (lambda x: torch.cat([x, x.clone()])[:0], 3 * _BYTES, 3 * _BYTES),
        (lambda x: torch.cat([x, x]), _BYTES, 2 * _BYTES),  # the same tensor, read once
        (lambda x: x.copy_(meta(3)), 12, _BYTES),
        (lambda x: x.copy_(meta(2, 3, dtype=torch.bfloat16)), 12, _BYTES),
        (lambda x: x.zero_(), 0, _BYTES),
        (lambda x: x.fill_(1.0), 0, _BYTES),
        (lambda x: x.uniform_(), 0, _BYTES),
        (lambda x: torch.zeros_like(x), 0, _BYTES),
        (lambda x: x.new_ones(4), 0, 16),
        (lambda x: torch.arange(5, device="meta"), 0, 40),
        (lambda x: x.expand(7, 2, 3).contiguous(), _BYTES, 7 * _BYTES),
        (lambda x: x.repeat(2, 1), _BYTES, 2 * _BYTES),
        (lambda x: torch.nn.functional.pad(x, (0, 1)), _BYTES, 32),
        (lambda x: x.sort(), _BYTES, _BYTES + 48),
    ],
)
def test_bytes_by_hand(
    run: Callable[[torch.Tensor], torch.Tensor], read: int, written: int
) -> None:
    counted = count(run, meta(2, 3))
    assert counted.complete
    assert (counted.total.read_bytes, counted.total.written_bytes) == (read, written)
    assert (counted.total.flops, counted.total.other_flops) == (0, 0)
    assert counted.not_counted == []


@pytest.mark.parametrize(
    "run",
    [
        lambda x: x.view(3, 2),
        lambda x: x.t().unsqueeze(0).squeeze_(0),
        lambda x: x[1:, ::2],
        lambda x: x.expand(4, 2, 3),
        lambda x: x.detach(),
        lambda x: x.split(1),
        lambda x: x.unbind(),
        lambda x: x.reshape(6),
        lambda x: torch.empty_like(x),
        lambda x: (x.shape, x.device, x.stride(), x.is_contiguous()),
    ],
)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_free(run: Callable[[torch.Tensor], object], mode: Callable[[], object]) -> None:
    with mode():  # type: ignore[attr-defined]
        counted = count(run, meta(2, 3))
    assert counted.rows == []


def test_a_reshape_that_copies_is_not_free_in_inference_mode() -> None:
    with torch.inference_mode():
        row = only(lambda x: x.t().reshape(6), torch.ones(2, 3))
    assert row.name == "aten::clone"
    assert row.work.bytes == 2 * _BYTES


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
