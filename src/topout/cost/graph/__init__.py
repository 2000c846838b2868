"""FLOPs and bytes of any PyTorch module or callable, counted while it runs once.

`count(model, inputs)` on real tensors or on the meta device; what was not counted is listed. Read
`counter` first, then `recorder`, which sees each op and plans what to do with it, and `places`,
which says where it belongs. `formula` is what the formulas stand on: `products`, `attention` and
`elementwise`. `tally` sums up.
"""

# The formulas enter themselves into the registry when they are imported.
from topout.cost.graph import attention, elementwise, products
from topout.cost.graph.counter import CONVENTIONS, Counter, count, counting
from topout.cost.graph.formula import Call, OpWork, forget_formula, register_formula

__all__ = [
    "CONVENTIONS",
    "Call",
    "Counter",
    "OpWork",
    "attention",
    "count",
    "counting",
    "elementwise",
    "forget_formula",
    "products",
    "register_formula",
]
