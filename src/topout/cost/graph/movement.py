"""Ops that compute nothing in floating point: free ones, and those that move bytes."""

from topout.cost.graph.call import Call, OpWork
from topout.cost.graph.registry import aten_names, formulas_of

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
