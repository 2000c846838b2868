"""Tensors in whatever a module takes or gives."""

from dataclasses import dataclass

import torch

from topout.models.structure.recording import named_tensors, storage_key


@dataclass
class _Output:
    logits: torch.Tensor
    cache: object = None


def test_paths_of_nested_tensors() -> None:
    x, y, z = torch.zeros(1), torch.zeros(2), torch.zeros(3)
    value = {"a": [x, (None, y)], "b": _Output(z, cache={"again": x})}
    assert [name for name, _ in named_tensors(value, "in")] == [
        "in.a[0]",
        "in.a[1][1]",
        "in.b.logits",
    ]


def test_a_structure_that_holds_itself_ends() -> None:
    value: list[object] = [torch.zeros(1)]
    value.append(value)
    assert len(list(named_tensors(value, "x"))) == 1


def test_views_share_a_storage_also_on_meta() -> None:
    for device in ("cpu", "meta"):
        x = torch.zeros(4, device=device)
        assert storage_key(x[1:]) == storage_key(x)
        assert storage_key(torch.zeros(4, device=device)) != storage_key(x)


def test_a_sparse_tensor_has_none() -> None:
    assert storage_key(torch.eye(2).to_sparse()) is None
