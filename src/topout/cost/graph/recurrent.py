"""Recurrent layers that run as one op: every weight meets every step of every sequence once.

Backward takes two products for each of the forward's. Elementwise work, for each hidden element
of a step: LSTM 4 sums of gates, 5 activations, 3 products, 1 sum = 13; GRU 3 sums, 3
activations, the reset and 3 to interpolate = 10; plain 1 sum, 1 activation = 2.
"""

from topout.cost.graph.call import Call, OpWork, multiply_adds
from topout.cost.graph.registry import formulas_of
from topout.cost.graph.tensors import tensors_in

_GATE_FLOPS = {0: 2, 1: 2, 2: 13, 3: 10}  # by `mode`: relu, tanh, LSTM, GRU
_LSTM, _GRU = _GATE_FLOPS[2], _GATE_FLOPS[3]


def _layer(call: Call) -> OpWork:
    """Weights are the matrices among `weight`, or among weight0…weight4. Input T×B×I."""
    *steps, _ = call.shape("input")
    positions = 1
    for size in steps:
        positions *= size
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
