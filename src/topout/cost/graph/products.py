"""Matrix products, convolutions and recurrent layers: 2 FLOPs for each multiply-add.

Products: each element of the result meets each element that is summed over. Convolutions: each
element of the output is a product of one window with one filter; input B×I×spatial, weight
O×(I/groups)×kernel, a transposed convolution's weight I×(O/groups)×kernel. As in
`torch.utils.flop_counter`, padding is counted like any other input, and biases and scales are not
counted. Integer products count like those of floating-point numbers.

Recurrent layers that run as one op: every weight meets every step of every sequence once, and
backward takes two products for each of the forward's. Elementwise work, for each hidden element
of a step: LSTM 4 sums of gates, 5 activations, 3 products, 1 sum = 13; GRU 3 sums, 3
activations, the reset and 3 to interpolate = 10; plain 1 sum, 1 activation = 2.
"""

import math

from topout.cost.graph.formula import Call, OpWork, formulas_of, multiply_adds, tensors_in

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

_INPUT = ("input", "self", "X")
_WEIGHT = ("weight", "W")
_GATE_FLOPS = {0: 2, 1: 2, 2: 13, 3: 10}  # by `mode`: relu, tanh, LSTM, GRU
_LSTM, _GRU = _GATE_FLOPS[2], _GATE_FLOPS[3]


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


def _triangular(call: Call) -> OpWork:
    """A system of N equations for K right sides: half a square of multiply-adds for each."""
    *_, equations, _ = call.shape("self", "A")
    return OpWork(flops=call.results[0].numel() * equations * call.complex_factor(products=True))


formulas_of("product", _SUMMED_OVER, _product)
formulas_of("product", ["linalg_solve_triangular"], _triangular)
formulas_of("product", ["addbmm"], _sum_of_products)
formulas_of("product", ["addr"], _outer)
formulas_of("product", ["_grouped_mm", "_scaled_grouped_mm", "_scaled_grouped_mm_v2"], _grouped)
formulas_of("product", ["linear_backward", "mkldnn_linear_backward"], _linear_backward)


def _convolution(call: Call) -> OpWork:
    flops = _convolution_flops(call, call.results[0].numel(), math.prod(call.shape(*_INPUT)))
    return OpWork(flops=flops * call.complex_factor(products=True))


def _convolution_backward(call: Call) -> OpWork:
    """The gradients of the input and of the weight take one convolution's FLOPs each."""
    grad_output = math.prod(call.shape("grad_output"))
    once = _convolution_flops(call, grad_output, math.prod(call.shape("input")))
    input_asked, weight_asked, bias_asked = call.get("output_mask", (True, True, False))
    return OpWork(
        flops=(input_asked + weight_asked) * once * call.complex_factor(products=True),
        other_flops=grad_output if bias_asked else 0,
    )


def _convolution_flops(call: Call, output_elements: int, input_elements: int) -> int:
    """2 FLOPs for each element of a window, for each output; transposed: for each input."""
    transposed = call.get("transposed", "transpose" in call.name)
    windows = input_elements if transposed else output_elements
    return multiply_adds(windows, *call.shape(*_WEIGHT)[1:])


def _time_batch_channel(call: Call) -> OpWork:
    """conv_tbc: weight kernel×I×O."""
    kernel, channels, _ = call.shape("weight")
    return OpWork(flops=multiply_adds(call.results[0].numel(), kernel, channels))


formulas_of(
    "convolution",
    [
        "convolution",
        "_convolution",
        "convolution_overrideable",
        "cudnn_convolution",
        "cudnn_convolution_relu",
        "cudnn_convolution_add_relu",
        "cudnn_convolution_transpose",
        "mkldnn_convolution",
        "mkldnn::_convolution_pointwise",
        "miopen_convolution",
        "miopen_convolution_transpose",
        "miopen_depthwise_convolution",
        "_mps_convolution",
        "_nnpack_spatial_convolution",
        "_conv_depthwise2d",
        "conv_depthwise3d",
        "_slow_conv2d_forward",
        "slow_conv3d_forward",
        "slow_conv_dilated2d",
        "slow_conv_dilated3d",
        "slow_conv_transpose2d",
        "slow_conv_transpose3d",
    ],
    _convolution,
)
formulas_of(
    "convolution",
    ["convolution_backward", "convolution_backward_overrideable"],
    _convolution_backward,
)
formulas_of("convolution", ["conv_tbc"], _time_batch_channel)


def _layer(call: Call) -> OpWork:
    """Weights are the matrices among `weight`, or among weight0…weight4. Input T×B×I."""
    *steps, _ = call.shape("input")
    positions = math.prod(steps)
    names = ["weight", *(f"weight{number}" for number in range(5))]
    weights = [weight for name in names for weight in tensors_in(call.get(name))]
    matrices = sum(weight.numel() for weight in weights if weight.dim() == 2)
    directions = 2 if call.get("bidirectional") else 1
    hidden = call.get("hidden_size") * directions * call.get("num_layers")
    times = 2 if call.name.endswith("_backward") else 1
    return OpWork(
        flops=times * multiply_adds(positions, matrices),
        other_flops=times * _GATE_FLOPS[call.get("mode", 0)] * positions * hidden,
    )


def _lstm_cell(call: Call) -> OpWork:
    return OpWork(other_flops=_LSTM * call.tensor("cx").numel())


def _gru_cell(call: Call) -> OpWork:
    return OpWork(other_flops=_GRU * call.tensor("hx").numel())


formulas_of(
    "recurrent",
    [
        "mkldnn_rnn_layer",
        "mkldnn_rnn_layer_backward",
        "_cudnn_rnn",
        "_cudnn_rnn_backward",
        "miopen_rnn",
        "miopen_rnn_backward",
    ],
    _layer,
)
formulas_of("recurrent", ["_thnn_fused_lstm_cell"], _lstm_cell)
formulas_of("recurrent", ["_thnn_fused_gru_cell"], _gru_cell)
