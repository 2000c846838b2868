"""What running costs beside arithmetic and bytes: the constants of predictions for other machines.

None belongs to a model or to a row of a table. `_GPU["compiled"]` and DEQUANTIZED_SHARE were
calibrated together on the five single-device rows of gpt-fast's published benchmark
(github.com/meta-pytorch/gpt-fast: Llama-2-7B and 70B, A100-80GB, batch 1), COLLECTIVE_S on its
three rows of the 7B model over 2 to 8 devices: least squares of the relative error.
`benchmarks/cost_published.py` prints what they predict there, and for rows and tables that they
were not calibrated on.
"""

import msgspec

from topout.records import Hardware

MODES = ("compiled", "eager")


class ExecutionMode(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of an op costs in one mode.

    `hidden`: launches run ahead of the device, so that an op takes the longer of the two;
    otherwise the overhead is what lies between two kernels of a captured graph.
    """

    product_s: float  # of a linear layer, attention, convolution
    elementwise_s: float  # 0 where they are fused into their neighbours
    hidden: bool


# A captured graph needs about 50 µs per Llama block beside its bytes: five products.
_GPU = {
    "compiled": ExecutionMode(product_s=10e-6, elementwise_s=0.0, hidden=False),
    # 25.5 tokens/s of Llama-2-7B, eager: 1.2 ms per block of 5 products and 6 others, each of
    # which is several kernels; the CPU is the bottleneck, so it depends on the host.
    "eager": ExecutionMode(product_s=110e-6, elementwise_s=110e-6, hidden=True),
}
# Of a CPU an op of PyTorch costs 3 to 10 µs, and eager elementwise ops are several.
_CPU = {
    "compiled": ExecutionMode(product_s=12e-6, elementwise_s=0.0, hidden=False),
    "eager": ExecutionMode(product_s=8e-6, elementwise_s=12e-6, hidden=False),
}

# Of the bandwidth that a plain read reaches, what a product with quantized weights does: they
# are widened on the way. 16- and 32-bit weights are read at full speed.
DEQUANTIZED_SHARE = {"int8": 0.80, "fp8": 0.80, "int4": 0.68}
# Where only the datasheet is known: what large reads and products reach of it.
BANDWIDTH_SHARE = 0.85
COMPUTE_SHARE = 0.75
# Attention's products are smaller and share the time with softmax: FlashAttention-2 reports 50 to
# 73 % of an A100's peak (arXiv 2307.08691).
ATTENTION_SHARE = 0.6
LINK_SHARE = 0.8
# One hop of a collective within a node, where the catalog has no figure.
HOP_LATENCY_S = 1.0e-6
# To start a collective and to wait for the other devices, beside its hops.
COLLECTIVE_S = 3.0e-6


def execution_mode(hardware: Hardware, name: str) -> ExecutionMode:
    """The overheads of `name` ("compiled", "eager") on a kind of machine."""
    return (_GPU if hardware.device == "gpu" else _CPU)[name]


def weight_read_share(weight_dtype: str) -> float:
    """The share of the bandwidth at which weights of this type are read."""
    return DEQUANTIZED_SHARE.get(weight_dtype.partition("-")[0], 1.0)
