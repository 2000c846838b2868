"""The ops of one pass of an encoder or a classifier of images."""

from topout.cost.ops import Op
from topout.cost.passes import encoder_ops, head_ops
from topout.models.pass_config import PassConfig


def one_pass_ops(config: PassConfig, batch_size: int, length: int) -> list[Op]:
    """What a pass over B inputs needs; `length` are the tokens of a sequence, if it takes any.

    A class that no formulas are of is one product of all its weights, of as many FLOPs as were
    counted of its module.
    """
    shape = config.shape
    if shape is not None:
        length = length if config.takes == "tokens" else shape.context_len or 1
        return encoder_ops(shape, batch_size, length) + head_ops(shape, batch_size, length)
    assert config.counted_flops is not None
    flops = config.counted_flops * batch_size
    product = Op(
        name="all products",
        kind="linear",
        count=1,
        # So many rows of all weights make as many FLOPs; weights that are shared make more.
        rows=max(1, round(flops / (2 * config.parameters))),
        matrix_elements=config.parameters,
        flops=flops,
        weight_elements=float(config.parameters),
    )
    return [product]
