"""Names of PyTorch's functions as people write them."""

import pytest
import torch
import torch.nn.functional as F

from topout.models.structure.recorder import is_view_name, op_name


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (torch.add, "+"),
        (torch.Tensor.add_, "+"),
        (torch.Tensor.__iadd__, "+"),
        (torch.Tensor.__radd__, "+"),
        (torch.mul, "×"),
        (torch.Tensor.__rsub__, "−"),
        (torch.Tensor.__truediv__, "÷"),
        (torch.Tensor.__matmul__, "matmul"),
        (torch.bmm, "matmul"),
        (torch.Tensor.relu_, "relu"),
        (F.softmax, "softmax"),
        (torch.Tensor.__getitem__, "getitem"),
        (torch.Tensor.mT.__get__, "mT"),
        (torch.ops.aten.add, "+"),
    ],
)
def test_names(func: object, name: str) -> None:
    assert op_name(func) == name


def test_reshapes_and_casts_compute_nothing() -> None:
    assert all(is_view_name(name) for name in ("reshape", "to", "contiguous", "split"))
    assert not any(is_view_name(name) for name in ("+", "cat", "softmax", "matmul"))
