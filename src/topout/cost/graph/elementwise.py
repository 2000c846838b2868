"""Elementwise ops, norms, reductions and pooling: `other_flops`.

An elementwise op takes 1 FLOP for each element that it writes, whatever the function (an
exponential counts as one), except for those listed as several. Integers and booleans take none.
The others are listed with the operations that they do on each element of their input.
"""

import math
from collections.abc import Callable

from topout.cost.graph.formula import Call, Formula, OpWork, formulas_of

# Elementwise, though PyTorch does not mark them so.
_UNMARKED = """
    hardswish hardswish_backward hardsigmoid_backward hardtanh_backward hardshrink_backward
    softshrink_backward softplus_backward elu_backward leaky_relu_backward log_sigmoid_forward
    log_sigmoid_backward glu glu_backward _prelu_kernel _prelu_kernel_backward rrelu_with_noise
    mish_backward silu_backward floor_divide dropout _fused_dropout _masked_scale
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
