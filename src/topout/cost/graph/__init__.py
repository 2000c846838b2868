"""FLOPs and bytes of any PyTorch module or callable, counted while it runs once.

`count(model, inputs)` on real tensors or on the meta device; what was not counted is listed. Read
`counter` first, then `recorder`, which sees each op and plans what to do with it, and `places`,
which says where it belongs. `formula` is what the formulas stand on: `products`, `attention` and
`elementwise`. `tally` sums up.

`module_count` makes ops of a pass out of a whole model's module, where no formulas describe it:
`calls` keeps each op of a run with its memory, `fusion` makes `kernels` of them (`latents` and
`longer` where a run does other than kernels would, or would take minutes, `kept` what backward
needs), and `kernel_ops` sums them up. `kernels_in_place` and `attended` stand in for attention,
masks and experts, `layer_kinds` skips layers that are alike, `module_parts` names parts.
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
