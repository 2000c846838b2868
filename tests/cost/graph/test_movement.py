"""Bytes of ops that compute nothing."""

from collections.abc import Callable

import pytest
import torch

from topout.cost.graph import count

from .one_op import meta, only

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
