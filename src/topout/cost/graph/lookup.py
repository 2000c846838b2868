"""Ops that read or write rows by number: what is touched is counted, not the table's size."""

import math
from typing import Any

import numpy as np
import torch

from topout.cost.graph.call import Call, OpWork
from topout.cost.graph.registry import formulas_of
from topout.cost.graph.tensors import rows_bytes, stored_bytes


def _embedding(call: Call) -> OpWork:
    """A row for each index; no product."""
    rows = call.tensor("indices").numel()
    return OpWork(read_bytes={"weight": rows_bytes(call.tensor("weight"), rows)})


def _embedding_bag(call: Call) -> OpWork:
    """A row for each index, added up."""
    rows = call.tensor("indices").numel()
    weight = call.tensor("weight")
    return OpWork(
        other_flops=rows * weight.shape[1],
        read_bytes={"weight": rows_bytes(weight, rows)},
    )


def _embedding_backward(call: Call) -> OpWork:
    """The gradient's rows are added into a table that is written whole."""
    return OpWork(other_flops=call.tensor("grad_output", "grad", "grad_").numel())


def _gather(call: Call) -> OpWork:
    """As many elements of the source are read as there are in the result."""
    return OpWork(read_bytes={"self": sum(stored_bytes(result) for result in call.results)})


def _index_put(call: Call) -> OpWork:
    """In place, only the elements that the indices name are touched."""
    target = call.tensor("self")
    touched = _indexed_elements(target, call.arguments["indices"]) * target.element_size()
    adds = touched // target.element_size() if call.get("accumulate") else 0
    other_flops = adds if target.is_floating_point() else 0
    if not call.in_place:
        return OpWork(other_flops=other_flops)
    reads = {"self": touched if call.get("accumulate") else 0}
    return OpWork(other_flops=other_flops, read_bytes=reads, written_bytes={"self": touched})


def _indexed_elements(target: torch.Tensor, indices: list[Any]) -> int:
    """Elements that `target[indices]` has; with a mask, whose content decides, at most."""
    given = [index for index in indices if index is not None]
    if any(index.dtype in (torch.bool, torch.uint8) for index in given):
        return target.numel()
    picked = math.prod(np.broadcast_shapes(*(tuple(index.shape) for index in given)))
    free = math.prod(
        size for dim, size in enumerate(target.shape) if dim >= len(indices) or indices[dim] is None
    )
    return picked * free


def _scatter(call: Call) -> OpWork:
    """In place, as many elements are touched as the source, or the index, has."""
    target = call.tensor("self")
    source = call.get("source", call.get("src"))
    elements = source.numel() if isinstance(source, torch.Tensor) else _index_elements(call)
    accumulates = any(word in call.name for word in ("add", "reduce"))
    other_flops = elements if accumulates and target.is_floating_point() else 0
    if not call.in_place:
        return OpWork(other_flops=other_flops)
    touched = elements * target.element_size()
    return OpWork(
        other_flops=other_flops,
        read_bytes={"self": touched if accumulates else 0},
        written_bytes={"self": touched},
    )


def _index_elements(call: Call) -> int:
    """Elements that a constant is written to: those of the index; of its rows for index_fill."""
    index, target = call.tensor("index"), call.tensor("self")
    if "index_fill" not in call.name:
        return index.numel()
    length: int = target.shape[call.arguments["dim"]]
    return index.numel() * target.numel() // max(length, 1)


def _picked_loss(call: Call) -> OpWork:
    """nll_loss: one probability of each row is read, weighted and added up."""
    rows = call.tensor("target").numel()
    return OpWork(
        other_flops=2 * rows,
        read_bytes={"self": rows * call.tensor("self").element_size()},
    )


def _picked_loss_backward(call: Call) -> OpWork:
    """The probabilities serve for their shape alone."""
    return OpWork(other_flops=call.tensor("target").numel(), read_bytes={"self": 0})


formulas_of("lookup", ["embedding"], _embedding)
formulas_of("lookup", ["_embedding_bag", "_embedding_bag_forward_only"], _embedding_bag)
formulas_of(
    "lookup",
    "embedding_dense_backward _embedding_bag_backward _embedding_bag_dense_backward",
    _embedding_backward,
)
formulas_of(
    "lookup",
    ["index", "_unsafe_index", "index_select", "gather", "take", "masked_select"],
    _gather,
)
formulas_of("lookup", ["index_put", "_unsafe_index_put", "_index_put_impl"], _index_put)
formulas_of(
    "lookup",
    [
        "index_add",
        "index_copy",
        "index_fill",
        "index_reduce",
        "scatter",
        "scatter_add",
        "scatter_reduce",
    ],
    _scatter,
)
formulas_of("lookup", ["nll_loss_forward", "nll_loss2d_forward"], _picked_loss)
formulas_of("lookup", ["nll_loss_backward", "nll_loss2d_backward"], _picked_loss_backward)
