"""FLOPs and bytes of a training step, op by op: forward, backward, optimizer.

Backward is twice forward for a product: the gradient of its input and that of its weight, each a
product of the same size. Fused attention keeps no scores and computes them again: 5 products
where forward has 2 (arXiv 2205.14135). Recomputing a block adds its forward once more.
"""

from typing import Literal

import msgspec

from topout.cost.ops import Op

Recompute = Literal["none", "selective", "full"]

_ATTENTION_BACKWARD = 2.5
# AdamW in mixed precision reads an fp32 copy, two moments and a 16-bit gradient, and writes the
# three and the 16-bit weight: 12 + 2 + 12 + 2. In fp32 it reads and writes weight and moments and
# reads the gradient: 12 + 4 + 12. Both are 28 bytes.
_ADAM_BYTES = 28.0


def training_ops(
    forward: list[Op], parameters: int, *, recompute: Recompute = "none", replicas: int = 1
) -> list[Op]:
    """The ops of one step after its forward pass has been counted, in the order in which they run.

    `forward` holds the ops of one replica with logits of all positions; `parameters` are those
    that one device updates. Gradients are summed over `replicas`.
    """
    backward: list[Op] = []
    for op in reversed(forward):
        if is_recomputed(op, recompute):
            backward.append(msgspec.structs.replace(op, name=f"{op.name}.recomputed"))
        backward.append(backward_of(op))
    ops = [*forward, *backward]
    if replicas > 1:
        ops.append(_gradient_all_reduce(parameters))
    return [*ops, _optimizer(parameters)]


def is_recomputed(op: Op, recompute: Recompute) -> bool:
    """Whether a forward op runs again in backward: `selective` repeats attention's core alone."""
    if op.kind == "collective" or op.part in ("embedding", "head", "convolution"):
        return False
    return recompute == "full" or (recompute == "selective" and op.kind == "attention")


def backward_of(op: Op) -> Op:
    """What the gradient of one op costs."""
    name = f"{op.name}.backward"
    if op.kind == "collective":  # sums of activations forward, of their gradients backward
        return msgspec.structs.replace(op, name=name)
    if op.kind in ("linear", "convolution"):
        # dX: reads W and dY, writes dX. dW: reads X and dY, writes dW, which is as large as W.
        return msgspec.structs.replace(
            op,
            name=name,
            flops=2 * op.flops,
            weight_elements=2 * op.weight_elements,
            activation_elements=2 * op.activation_elements,
        )
    if op.kind == "attention":
        # Reads Q, K, V, the output and its gradient; writes the gradients of Q, K and V.
        return msgspec.structs.replace(
            op,
            name=name,
            flops=_ATTENTION_BACKWARD * op.flops,
            activation_elements=2 * op.activation_elements,
            kv_elements=2 * op.kv_elements,
        )
    # An elementwise op reads its input and the gradient of its output, and writes one of its input.
    return msgspec.structs.replace(
        op,
        name=name,
        flops=2 * op.flops,
        activation_elements=1.5 * op.activation_elements,
    )


def _gradient_all_reduce(parameters: int) -> Op:
    return Op(
        name="gradient_all_reduce",
        part="communication",
        kind="collective",
        count=1,
        shape=f"{parameters} gradients",
        flops=0.0,
        activation_elements=float(parameters),
    )


def _optimizer(parameters: int) -> Op:
    return Op(
        name="optimizer",
        part="optimizer",
        kind="elementwise",
        count=1,
        shape=f"{parameters} parameters, AdamW",
        flops=12.0 * parameters,
        fixed_bytes=_ADAM_BYTES * parameters,
    )
