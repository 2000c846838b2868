"""Ops that compute nothing in floating point: free ones, those that move bytes, and lookups.

Of ops that read or write rows by number what is touched is counted, not the table's size.
"""

import math
from typing import Any

import numpy as np
import torch

from topout.cost.graph.formula import (
    Call,
    OpWork,
    aten_names,
    formulas_of,
    rows_bytes,
    stored_bytes,
)

# Neither arithmetic nor traffic: they make a view, reserve memory, or look at a tensor's shape.
FREE = frozenset(
    aten_names(
        """
        _unsafe_view lift unsafe_split unsafe_split_with_sizes resize set is_pinned is_same_size
        _has_same_storage_numel empty empty_like empty_permuted empty_strided new_empty
        new_empty_strided _efficientzerotensor _empty_affine_quantized _assert_async
        _assert_scalar _assert_tensor_metadata _functional_assert_async
        _functional_assert_scalar sym_constrain_range sym_constrain_range_for_size
        _functional_sym_constrain_range _functional_sym_constrain_range_for_size
        _fused_sdp_choice record_stream dense_dim sparse_dim is_coalesced _nnz _print
        _make_dep_token sym_size sym_numel sym_stride sym_storage_offset sym_is_contiguous
        is_contiguous size stride numel dim storage_offset is_non_overlapping_and_dense
        is_strides_like_format
        """
    )
)

# Memory that holds nothing until something is written to it.
RESERVES = frozenset(name for name in FREE if "empty" in name)

_MOVED = """
    clone _to_copy contiguous cat stack _stack _chunk_cat repeat repeat_interleave roll flip rot90
    tril triu constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d
    reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward
    replication_pad1d replication_pad2d replication_pad3d as_strided_scatter diagonal_scatter
    select_scatter slice_scatter select_backward slice_backward diagonal_backward unfold_backward
    sort topk kthvalue median nanmedian mode searchsorted bucketize nonzero nonzero_static isin
    _unique _unique2 unique_dim unique_consecutive masked_scatter masked_scatter_backward
    pixel_shuffle pixel_unshuffle channel_shuffle im2col upsample_nearest1d upsample_nearest2d
    upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
    _upsample_nearest_exact3d complex block_diag diag_embed _local_scalar_dense _pin_memory
    _copy_from _to_dense bincount multinomial scalar_tensor tril_indices triu_indices arange range
    _to_sparse linspace logspace eye full zeros ones rand randn randint randperm
"""

# What the first argument gives is its shape and type, not its content.
_SHAPED_LIKE = """
    zeros_like ones_like full_like rand_like randn_like randint_like new_zeros new_ones new_full
    _new_zeros_with_same_feature_meta
"""

# Written over in place; out of place the first argument is read.
_OVERWRITTEN = """
    copy fill zero normal uniform random bernoulli exponential cauchy geometric log_normal
"""


def _moved(call: Call) -> OpWork:
    return OpWork()


def _shaped_like(call: Call) -> OpWork:
    return OpWork(read_bytes={"self": 0})


def _overwritten(call: Call) -> OpWork:
    return OpWork(read_bytes={"self": 0}) if call.in_place else OpWork()


formulas_of("movement", _MOVED, _moved)
formulas_of("movement", _SHAPED_LIKE, _shaped_like)
formulas_of("movement", _OVERWRITTEN, _overwritten)


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
