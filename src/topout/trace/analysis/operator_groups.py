"""Which group an operator of the host belongs to, in the words used for kernels.

A trace without device events has no kernels: its operators do the work themselves.
"""

import re
from collections.abc import Iterable

from topout.trace.analysis.groups import Rules

MATRIX_MUL = "matrix-mul"
MEMORY = "memory"
COMMUNICATION = "communication"
FRAMEWORK = "framework"  # autograd's and the optimizer's own time around the operators
# The first that fits decides; what fits none is decided by the rules for kernels.
_OPERATORS = (
    (FRAMEWORK, r"^(autograd::engine::|torch::autograd::|Optimizer\.|DistributedDataParallel\.)"),
    (COMMUNICATION, r"^(c10d|_c10d_functional|gloo|mpi|ucc|nccl)::?|^record_param_comms$"),
    (
        MATRIX_MUL,
        r"^(aten|mkldnn|quantized|onednn)::_?(addmm|addmv|addbmm|mm|mv|bmm|baddbmm|matmul|linear|"
        r"dot|vdot|einsum|int_mm|scaled_mm|weight_int[48]pack_mm|addmm_activation|"
        r"linear_dynamic|grouped_mm)(_pointwise|_backward|_out|_for_cpu|_dynamic)*_?(\.|$)",
    ),
    (
        MEMORY,
        r"^aten::(copy_|_to_copy|to|clone|contiguous|fill_|zero_|zeros|zeros_like|ones|ones_like|"
        r"full|full_like|empty|empty_like|empty_strided|resize_|cat|_cat|stack|pin_memory|"
        r"_pin_memory|repeat|new_empty|new_zeros|new_empty_strided|_foreach_zero_|_foreach_copy_)$",
    ),
    ("optimizer", r"^aten::_(foreach|fused)_"),
    ("attention", r"^aten::_?(scaled_dot_product|flash_attention|efficient_attention)"),
    ("element-wise", r"^aten::(add|sub|mul|div|neg|exp|tanh|relu|pow|sqrt|rsqrt|where|gelu|silu|"
     r"sigmoid|threshold_backward|masked_fill|clamp|addcmul|addcdiv|lerp)_?(_backward)?$"),
    ("random and dropout", r"^aten::(rand|randn|randint|randperm|normal|uniform|bernoulli|random|"
     r"native_dropout|native_dropout_backward|dropout|exponential)_?$"),
    ("reduction", r"^aten::(sum|mean|max|min|argmax|amax|any|all|norm|linalg_vector_norm|var|"
     r"var_mean|prod|cumsum)$"),
    ("indexing", r"^aten::(embedding|embedding_dense_backward|index|index_select|gather|scatter|"
     r"index_put_|_index_put_impl_|index_add_|scatter_add_)_?$"),
)  # fmt: skip
_COMPILED = tuple((group, re.compile(pattern)) for group, pattern in _OPERATORS)


def operator_groups(names: Iterable[str], rules: Rules) -> list[str]:
    """The group of each operator: by the table here, else by the rules for kernels, else other."""
    return [_group(name, rules) for name in names]


def _group(name: str, rules: Rules) -> str:
    found = next((group for group, pattern in _COMPILED if pattern.search(name)), None)
    if found is not None:
        return found
    return rules.group_of(name)
