"""Convolutions: each element of the output is a product of one window with one filter.

Padding is counted like any other input, as in `torch.utils.flop_counter`. Shapes: input
B×I×spatial, weight O×(I/groups)×kernel; a transposed convolution's weight is I×(O/groups)×kernel.
"""

import math

from topout.cost.graph.call import Call, OpWork, multiply_adds
from topout.cost.graph.registry import formulas_of

_INPUT = ("input", "self", "X")
_WEIGHT = ("weight", "W")


def _convolution(call: Call) -> OpWork:
    flops = _flops(call, call.results[0].numel(), math.prod(call.shape(*_INPUT)))
    return OpWork(flops=flops * call.complex_factor(products=True))


def _convolution_backward(call: Call) -> OpWork:
    """The gradients of the input and of the weight take one convolution's FLOPs each."""
    grad_output = math.prod(call.shape("grad_output"))
    once = _flops(call, grad_output, math.prod(call.shape("input")))
    input_asked, weight_asked, bias_asked = call.get("output_mask", (True, True, False))
    return OpWork(
        flops=(input_asked + weight_asked) * once * call.complex_factor(products=True),
        other_flops=grad_output if bias_asked else 0,
    )


def _flops(call: Call, output_elements: int, input_elements: int) -> int:
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
