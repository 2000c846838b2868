"""From the kernels of a run to the ops of a pass, summed over the layers that run them alike."""

from collections.abc import Callable

import msgspec

from topout.cost.graph.kernels import Kernel
from topout.cost.ops import Op, OpKind
from topout.cost.transformer import expected_experts


def kernel_ops(
    kernels: list[Kernel], name_of: Callable[[str], str], element_bytes: int
) -> list[Op]:
    """The ops in the order in which they first run; `element_bytes` are those of an activation."""
    ops: dict[tuple[str, str, str, str], Op] = {}
    for kernel in kernels:
        op = _op(kernel, name_of, element_bytes)
        key = (op.name, op.part, op.kind, op.shape)
        before = ops.get(key)
        ops[key] = op if before is None else _together(before, op)
    return list(ops.values())


def _together(one: Op, other: Op) -> Op:
    return msgspec.structs.replace(
        one,
        count=one.count + other.count,
        flops=one.flops + other.flops,
        weight_elements=one.weight_elements + other.weight_elements,
        activation_elements=one.activation_elements + other.activation_elements,
        kv_elements=one.kv_elements + other.kv_elements,
        fixed_bytes=one.fixed_bytes + other.fixed_bytes,
    )


def _op(kernel: Kernel, name_of: Callable[[str], str], element_bytes: int) -> Op:
    times, size = kernel.times, element_bytes
    weights, rows = kernel.weight_bytes / size, max(1, round(kernel.rows))
    shape = ""
    if kernel.attended:
        batch, heads, queries, keys, head_size = map(round, kernel.attended)
        shape = f"{batch}×{heads} heads, {queries} × {keys} of {head_size}"
    if kernel.kind == "linear":
        shape = f"{rows}×{kernel.k} · {kernel.k}×{kernel.n}"
    if kernel.experts is not None:
        experts, chosen = kernel.experts
        touched = expected_experts(experts, chosen, kernel.rows / chosen)
        weights = touched * kernel.k * kernel.n
        rows = max(1, round(kernel.rows / touched))
        shape = f"{touched:.3g} of {experts} experts, {rows}×{kernel.k} · {kernel.k}×{kernel.n}"
    return Op(
        name=_name(kernel, name_of),
        part=kernel.part,
        kind=_KINDS.get(kernel.kind, "elementwise"),
        count=times,
        shape=shape,
        rows=rows,
        matrix_elements=kernel.k * kernel.n,
        flops=kernel.flops * times,
        weight_elements=weights * times,
        activation_elements=kernel.activation_bytes / size * times,
        kv_elements=kernel.cache_bytes / size * times,
        fixed_bytes=kernel.states_bytes * times,
    )


_KINDS: dict[str, OpKind] = {
    "linear": "linear",
    "attention": "attention",
    "convolution": "convolution",
    "embedding": "embedding",
}


def _name(kernel: Kernel, name_of: Callable[[str], str]) -> str:
    """What the module is called; of products that are one, all their names: "mlp.gate+up"."""
    if kernel.part == "residuals":
        return kernel.part
    named = [name_of(path) for path in kernel.paths] or [name_of(kernel.path)]
    outer, _, last = named[0].rpartition(".")
    lasts = "+".join([last, *(each.rpartition(".")[2] for each in named[1:])])
    name = f"{outer}.{lasts}" if outer else lasts or kernel.part
    inside = kernel.kind == "elementwise" and kernel.part not in ("norms", kernel.path)
    return f"{name}.elementwise" if inside else name
