"""Attention on cached latents in a decoded token, as kernels compute it.

A model keeps latents of size r and one rotated key of size p for all H heads. Its code in PyTorch
makes keys and values of all T tokens anew from them, in every step. Kernels multiply the projection
into the query and into what comes out instead, so that a token costs 2·r·N for the projection's N
outputs, whatever T, and 2·H·T·(2r + p) for its scores and their product with the latents, which are
read as they lie (arXiv 2405.04434, section 2.1.2).
"""

from collections.abc import Container
from dataclasses import dataclass, field, replace

from topout.cost.graph.calls import LoggedCall, Use


@dataclass(slots=True)
class _Expansion:
    """A projection of cached latents, and what else of the cache is joined to what it gives."""

    call: LoggedCall
    number: int  # where it stands among the calls that stay
    weight: Use
    cached: list[Use] = field(default_factory=list)


def on_latents(
    calls: list[LoggedCall], weights: Container[int], cache: Container[int]
) -> list[LoggedCall]:
    """The calls of a decoded token with projections of what is cached multiplied into the query.

    Calls stay as they are where no attention reads what such a projection gives.
    """
    kept: list[LoggedCall] = []
    expanded: dict[int, _Expansion] = {}
    for call in calls:
        touched = next(
            (e for u in (*call.reads, *call.changes) if (e := expanded.get(u.address))), None
        )
        if touched is not None and call.name == "attention":
            absorbed = _absorbed(touched, call)
            if absorbed is None:
                return calls
            kept[touched.number], attention = absorbed
            kept.append(attention)
        elif touched is not None:  # keys are put together, which are never made
            touched.cached += [use for use in call.reads if use.address in cache]
            expanded |= {use.address: touched for use in (*call.writes, *call.changes)}
        else:
            begun = _expansion(call, len(kept), weights, cache)
            if begun is not None:
                expanded[call.writes[0].address] = begun
            kept.append(call)
    met = {use.address for call in kept if call.name == "attention" for use in call.reads}
    is_used = all(expansion.cached[0].address in met for expansion in expanded.values())
    return kept if is_used else calls


def _expansion(
    call: LoggedCall, number: int, weights: Container[int], cache: Container[int]
) -> _Expansion | None:
    """A product of a weight with what is cached, and with nothing else."""
    if call.family != "product" or not call.writes:
        return None
    cached = [use for use in call.reads if use.address in cache]
    weight = [use for use in call.reads if use.address in weights]
    if not cached or len(weight) != 1 or len(cached) + 1 != len(call.reads):
        return None
    return _Expansion(call, number, weight[0], list(cached))


def _absorbed(made: _Expansion, attention: LoggedCall) -> tuple[LoggedCall, LoggedCall] | None:
    """The projection of one token, and attention on latents; None where sizes do not say how."""
    if not attention.attended:
        return None
    batch, heads, queries, keys, key_size = attention.attended
    output, result = made.call.writes[0], attention.writes[0]
    outputs, latent = output.shape[-1], made.cached[0].shape[-1]
    value_size = result.shape[-1]
    plain = outputs // heads - value_size  # of a key, without its rotated part
    rotated = key_size - plain
    if queries != 1 or outputs % heads or plain < 0 or rotated < 0:
        return None
    size = output.bytes / (keys * batch * outputs)
    moved = batch * heads * size
    projection = replace(
        made.call,
        flops=2.0 * batch * latent * outputs,
        reads=(_apart(made.number, 0, moved * (plain + latent), (batch, latent)), made.weight),
        writes=(_apart(made.number, 1, moved * (latent + value_size), (batch, outputs)),),
    )
    seen = {(use.address, use.offset, use.shape[-1]): use for use in made.cached}
    return projection, replace(
        attention,
        flops=2.0 * batch * heads * keys * (2 * latent + rotated),
        reads=(attention.reads[0], *seen.values()),
        attended=(batch, heads, queries, keys, latent + rotated),
    )


def _apart(number: int, which: int, moved: float, shape: tuple[int, ...]) -> Use:
    """Memory that no call of the run has: its address is below 0."""
    return Use(-(2 * number + which + 1), round(moved), round(moved), shape, 0)
