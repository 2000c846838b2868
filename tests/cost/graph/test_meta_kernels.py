"""Stand-ins give the shapes that the real kernels give."""

import pytest
import torch

from topout.cost.graph.recorder import stand_in

_OFFS = torch.tensor([8, 16], dtype=torch.int32)


@pytest.mark.parametrize(
    ("left", "right", "offs"),
    [
        ((16, 32), (2, 32, 48), _OFFS),  # groups of rows
        ((2, 32, 48), (48, 16), _OFFS),  # of columns
        ((32, 16), (16, 48), _OFFS),  # of inner elements
        ((2, 16, 32), (2, 32, 48), None),
    ],
)
def test_grouped_products(
    left: tuple[int, ...], right: tuple[int, ...], offs: torch.Tensor | None
) -> None:
    one, two = (torch.ones(shape, dtype=torch.bfloat16) for shape in (left, right))
    real = torch._grouped_mm(one, two, offs=offs)
    run = stand_in("aten::_grouped_mm", (one.to("meta"),))
    assert run is not None
    result = run(one.to("meta"), two.to("meta"), offs)
    assert (result.shape, result.dtype) == (real.shape, real.dtype)
    assert result.device.type == "meta"


def test_real_tensors_and_other_ops_run_themselves() -> None:
    assert stand_in("aten::_grouped_mm", (torch.ones(1),)) is None
    assert stand_in("aten::mm", (torch.ones(1, device="meta"),)) is None
