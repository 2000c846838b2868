"""FLOPs and bytes of any PyTorch module or callable, counted while it runs once.

`count(model, inputs)` on real tensors or on the meta device; what was not counted is listed.
"""

# The formulas enter themselves into the registry when they are imported.
from topout.cost.graph import (
    attention,
    convolution,
    elementwise,
    lookup,
    movement,
    products,
    recurrent,
)
from topout.cost.graph.call import Call, OpWork
from topout.cost.graph.conventions import CONVENTIONS
from topout.cost.graph.counter import Counter, count, counting
from topout.cost.graph.registry import forget_formula, register_formula

__all__ = [
    "CONVENTIONS",
    "Call",
    "Counter",
    "OpWork",
    "attention",
    "convolution",
    "count",
    "counting",
    "elementwise",
    "forget_formula",
    "lookup",
    "movement",
    "products",
    "recurrent",
    "register_formula",
]
