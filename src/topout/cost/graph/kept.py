"""What the backward pass needs of a forward again: of each kernel what it reads, as far as needed.

What is made inside of a kernel is made again from what the kernel reads. A sum needs nothing; of
two factors each is needed for the gradient of the other; of other ops what they read.
"""

from topout.cost.graph.calls import ENTERED, SKIPPED, LoggedCall, Use
from topout.cost.graph.formula import aten_names
from topout.cost.graph.kernels import Kept, Kernel, bytes_of_parts
from topout.cost.graph.layer_kinds import LayerKinds

# Their gradient needs none of what they read.
_KEEPS_NOTHING = frozenset(
    aten_names(
        """
        add add_ sub sub_ rsub neg cat stack clone copy copy_ _to_copy sum mean slice select
        constant_pad_nd repeat expand index index_select gather zeros_like new_zeros fill fill_
        masked_fill masked_fill_ embedding ones_like index_add index_put index_put_ scatter_add
        """
    )
)
# Of two factors each is kept for the gradient of the other.
_FACTORS = frozenset(aten_names("mul mul_ div div_ bmm baddbmm"))


def kept_for_backward(
    kernels: list[Kernel], calls: list[LoggedCall], weights: set[int], kinds: LayerKinds
) -> Kept:
    """What is kept of a forward pass, by the layer that made it."""
    needs = _needing_gradients(calls, weights)
    made_in: dict[int, str] = {}
    for call in calls:
        for use in (*call.writes, *call.changes):
            made_in.setdefault(use.address, call.path)
    parts: dict[int, set[Use]] = {}
    kept = Kept()
    for kernel in kernels:
        of_kernel = calls[kernel.first : kernel.last + 1]
        for use in _kept_of(kernel, of_kernel, needs, weights):
            parts.setdefault(use.address, set()).add(use)
        if kernel.attended:
            batch, heads, queries, *_ = kernel.attended
            kept.statistics += batch * heads * queries * kernel.times
    for use in _needed_by_skipped(calls, parts):
        parts.setdefault(use.address, set()).add(use)
    for address, uses in parts.items():
        layer = kinds.layer_of(made_in.get(address, ""))
        kept.by_layer[layer] = kept.by_layer.get(layer, 0.0) + bytes_of_parts(uses)
    kept.times = {layer: kinds.times_of(f"{layer}.") for layer in kept.by_layer}
    return kept


def _needed_by_skipped(calls: list[LoggedCall], parts: dict[int, set[Use]]) -> list[Use]:
    """What layers that were not run need again of what they were given: as the first did."""
    entered: dict[str, tuple[Use, ...]] = {}
    found: list[Use] = []
    for call in calls:
        if call.name == ENTERED:
            entered[call.path] = call.reads
        elif call.name == SKIPPED:
            alike = zip(entered.get(call.path, ()), call.reads, strict=False)
            found += [use for first, use in alike if first.address in parts]
    return found


def _needing_gradients(calls: list[LoggedCall], weights: set[int]) -> set[int]:
    """Addresses of what gradients flow through: the weights, and all that is made of them."""
    needs = set(weights)
    for call in calls:
        if any(use.address in needs for use in (*call.reads, *call.changes)):
            needs |= {use.address for use in (*call.writes, *call.changes)}
    return needs


def _kept_of(
    kernel: Kernel, calls: list[LoggedCall], needs: set[int], weights: set[int]
) -> list[Use]:
    """Of what a kernel reads, and of an attention its output, what its gradient needs again.

    What is made inside of it is made again from what it reads.
    """
    origins: dict[int, set[Use]] = {}  # made inside → read from outside
    kept: set[Use] = set()
    for call in calls:
        touched: set[Use] = set()
        for use in (*call.reads, *call.changes):
            outside = origins.get(use.address, {use})
            touched |= outside
            if _is_needed_again(call, use, needs):
                kept |= outside
        for use in (*call.writes, *call.changes):
            origins[use.address] = origins.get(use.address, set()) | touched
    found = [use for use in kept if use.address in needs and use.address not in weights]
    if kernel.attended:
        found += calls[0].writes
    return found


def _is_needed_again(call: LoggedCall, use: Use, needs: set[int]) -> bool:
    if call.name in _KEEPS_NOTHING:
        return False
    if call.name in _FACTORS or call.family in ("product", "convolution"):
        others = [each for each in call.reads if each is not use]
        return any(each.address in needs for each in others)
    return use.address in needs
