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
