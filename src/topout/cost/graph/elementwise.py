"""Ops without products: elementwise ones, norms, reductions, pooling, and those that move bytes.

An elementwise op takes 1 FLOP for each element that it writes, whatever the function (an
exponential counts as one), except for those listed as several. Integers and booleans take none.
The others are listed with the operations that they do on each element of their input. All of
these are `other_flops`.

Ops that compute nothing in floating point are free, move bytes, or look rows up: what of a table is
read or written by number is counted, not its size.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from topout.cost.graph.formula import (
    Call,
    Formula,
    OpWork,
    aten_names,
    formulas_of,
    rows_bytes,
    stored_bytes,
)

# Elementwise, though PyTorch does not mark them so.
_UNMARKED = """
    hardswish hardswish_backward hardsigmoid_backward hardtanh_backward hardshrink_backward
    softshrink_backward softplus_backward elu_backward leaky_relu_backward log_sigmoid_forward
    log_sigmoid_backward glu glu_backward _prelu_kernel _prelu_kernel_backward rrelu_with_noise
    mish_backward silu_backward floor_divide polar dropout _fused_dropout _masked_scale
    max_pool2d_with_indices_backward max_pool3d_with_indices_backward
    adaptive_max_pool2d_backward _adaptive_avg_pool2d_backward _adaptive_avg_pool3d_backward
"""

# More than one operation for each element written.
_SEVERAL = {
    "addcmul addcdiv": 2,
    "lerp": 3,  # subtract, multiply, add
    "native_dropout native_dropout_backward": 2,  # mask, scale
    "upsample_linear1d": 3,  # 2 products and their sum
    "upsample_bilinear2d": 7,  # 4 products and their sum
    "upsample_trilinear3d": 15,
    "upsample_bicubic2d": 31,
}

# For each element of the input.
_NORMALIZATIONS = {
    "_softmax _safe_softmax _masked_softmax": 5,  # largest, subtract, exp, sum, divide
    "_log_softmax": 5,  # largest, subtract, exp, sum, subtract the logarithm
    "_softmax_backward_data _log_softmax_backward_data": 4,  # multiply, sum, subtract, multiply
    "logsumexp": 4,
    "native_layer_norm native_group_norm": 7,  # mean, subtract, square, sum, divide, scale, shift
    "_fused_rms_norm": 4,  # square, sum, divide, scale
    # Input normalized again 2, gradient scaled 1, two sums 3, input's gradient 4, scale's 2,
    # shift's 1.
    "native_layer_norm_backward native_group_norm_backward": 13,
    "native_batch_norm_backward cudnn_batch_norm_backward batch_norm_backward": 13,
    "_fused_rms_norm_backward": 9,  # the same less the mean and the shift: 1, 1, 2, 3, 2
}
_REDUCTIONS = {
    """sum mean nansum prod amax amin aminmax _aminmax max min argmax argmin any all
    count_nonzero cumsum cumprod cummax cummin _cummax_helper _cummin_helper trace _is_all_true
    _is_any_true _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d
    adaptive_max_pool3d histc""": 1,
    "var std var_mean std_mean": 4,  # mean, subtract, square, sum
    "norm linalg_vector_norm linalg__powsum": 2,  # square, sum
    "logcumsumexp": 4,
    "mse_loss": 3,  # subtract, square, sum
    "smooth_l1_loss huber_loss": 4,
    "binary_cross_entropy": 6,  # two logarithms, two products, two sums
    "mse_loss_backward smooth_l1_loss_backward huber_loss_backward": 2,
    "binary_cross_entropy_backward": 4,
}

_BATCH_NORMS = """
    native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_functional
    _native_batch_norm_legit_no_training _batch_norm_no_update _batch_norm_with_update
    cudnn_batch_norm miopen_batch_norm
"""
_POOLS = """
    max_pool2d_with_indices max_pool3d_with_indices avg_pool2d avg_pool3d avg_pool2d_backward
    avg_pool3d_backward mkldnn_max_pool2d mkldnn_max_pool3d
"""

# Optimizer steps, for each parameter. Adam: first moment 3, second 4, denominator 3, update 3.
_STEPS = {"_fused_adam": 13, "_fused_adamw": 14, "_fused_sgd": 4, "_fused_adagrad": 6}


def _per_result(operations: int) -> Callable[[Call], OpWork]:
    def work(call: Call) -> OpWork:
        return _on_elements(call, operations, call.result_elements())

    return work


def _per_input(operations: int) -> Callable[[Call], OpWork]:
    def work(call: Call) -> OpWork:
        return _on_elements(call, operations, call.input_elements())

    return work


def _on_elements(call: Call, operations: int, elements: int) -> OpWork:
    if not call.is_floating():
        return OpWork()
    return OpWork(other_flops=operations * elements * call.complex_factor(products=False))


def _product_of_elements(call: Call) -> OpWork:
    """A complex product of two numbers is 4 real products and 2 sums, 3 times as much as a sum."""
    is_complex = call.complex_factor(products=False) > 1
    return _on_elements(call, 3 if is_complex else 1, call.result_elements())


def _pool(call: Call) -> OpWork:
    """Each element of the output looks at a window. A single size stands for all dimensions."""
    dimensions = 3 if "3d" in call.name else 2
    window = list(call.get("kernel_size"))
    size = math.prod(window) if len(window) > 1 else window[0] ** dimensions
    outputs = call.tensor("grad_output") if "backward" in call.name else call.results[0]
    return OpWork(other_flops=size * outputs.numel())


def _batch_norm(call: Call) -> OpWork:
    """7 in training, as for a layer norm; else the statistics are given: 4."""
    training = call.get("training", call.get("train", "with_update" in call.name))
    return OpWork(other_flops=(7 if training else 4) * call.input_elements())


def _optimizer_step(call: Call) -> OpWork:
    name = call.name.removeprefix("aten::").rstrip("_")
    elements = sum(parameter.numel() for parameter in call.arguments["self"])
    return OpWork(other_flops=_STEPS[name] * elements)


ELEMENTWISE = Formula("elementwise", _per_result(1))

formulas_of("elementwise", _UNMARKED, ELEMENTWISE.work)
formulas_of("elementwise", "mul", _product_of_elements)
formulas_of("elementwise", _STEPS, _optimizer_step)
for _names, _operations in _SEVERAL.items():
    formulas_of("elementwise", _names, _per_result(_operations))
for _names, _operations in _NORMALIZATIONS.items():
    formulas_of("normalization", _names, _per_input(_operations))
for _names, _operations in _REDUCTIONS.items():
    formulas_of("reduction", _names, _per_input(_operations))
formulas_of("normalization", _BATCH_NORMS, _batch_norm)
formulas_of("reduction", _POOLS, _pool)


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
