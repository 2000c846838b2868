"""Matrix products: 2 FLOPs for each element of the result and each element that is summed over.

Biases and scales are not counted, as in `torch.utils.flop_counter`. Integer products count like
those of floating-point numbers.
"""

import math

from topout.cost.graph.call import Call, OpWork, multiply_adds
from topout.cost.graph.registry import formulas_of

# Op → the argument whose last dimension is summed over.
_SUMMED_OVER = {
    "mm": "self",
    "bmm": "self",
    "mv": "self",
    "dot": "self",
    "vdot": "self",
    "addmm": "mat1",
    "_addmm_activation": "mat1",
    "addmv": "mat",
    "baddbmm": "batch1",
    "linear": "input",
    "mkldnn_linear": "self",
    "_int_mm": "self",
    "_scaled_mm": "self",
    "_scaled_mm_v2": "self",
    "_weight_int8pack_mm": "self",
    "_weight_int4pack_mm": "self",
    "_weight_int4pack_mm_for_cpu": "self",
    "_weight_int4pack_mm_with_scales_and_zeros": "self",
    "_mixed_dtypes_linear": "input",
    "_dyn_quant_matmul_4bit": "inp",
    "quantized::linear": "X",
    "quantized::linear_relu": "X",
    "quantized::linear_dynamic": "X",
    "quantized::linear_relu_dynamic": "X",
    "mkldnn::_linear_pointwise": "X",
}


def _product(call: Call) -> OpWork:
    name = call.name.removeprefix("aten::").rstrip("_")
    summed = call.shape(_SUMMED_OVER[name])[-1]
    flops = multiply_adds(call.results[0].numel(), summed)
    return OpWork(flops=flops * call.complex_factor(products=True))


def _sum_of_products(call: Call) -> OpWork:
    """addbmm: the products of a batch, added up. batch1 B×M×K, batch2 B×K×N."""
    batch, rows, inner = call.shape("batch1")
    flops = multiply_adds(batch, rows, inner, call.shape("batch2")[-1])
    return OpWork(flops=flops * call.complex_factor(products=True))


def _outer(call: Call) -> OpWork:
    """addr: a product of a column and a row, added to a matrix."""
    flops = multiply_adds(call.results[0].numel())
    return OpWork(flops=flops * call.complex_factor(products=True))


def _grouped(call: Call) -> OpWork:
    """Products of groups of rows, columns or inner elements, split by `offs`.

    Where one side is a plain matrix the groups partition its grouped dimension, so that together
    they are one product of M·K·N; two stacks of matrices are a batch.
    """
    left, right = call.shape("self"), call.shape("mat2")
    batch = left[0] if len(left) == len(right) == 3 else 1
    return OpWork(flops=multiply_adds(batch, left[-2], left[-1], right[-1]))


def _linear_backward(call: Call) -> OpWork:
    """The gradients of the input and of the weight: one product each, where asked for."""
    inner = call.shape("weight", "weight_t")[-1]
    asked = sum(call.get("output_mask", (True, True))[:2])
    return OpWork(flops=asked * multiply_adds(math.prod(call.shape("grad_output")), inner))


formulas_of("product", _SUMMED_OVER, _product)
formulas_of("product", ["addbmm"], _sum_of_products)
formulas_of("product", ["addr"], _outer)
formulas_of("product", ["_grouped_mm", "_scaled_grouped_mm", "_scaled_grouped_mm_v2"], _grouped)
formulas_of("product", ["linear_backward", "mkldnn_linear_backward"], _linear_backward)
