"""What a collective moves: its message in bytes, and what each rank must send by the ring.

With n ranks and a full buffer of S bytes (Thakur, Rabenseifner and Gropp, 2005; nccl-tests,
PERFORMANCE.md):

- all-reduce sends 2(n−1)/n·S from each rank: a reduce-scatter and an all-gather;
- all-gather, reduce-scatter and all-to-all send (n−1)/n·S, S being the whole of all ranks' parts;
- broadcast, reduce, gather and scatter send (n−1)/n·S in the mean over the ranks: each but the
  last of the chain passes S on;
- send sends S.

Bus bandwidth is what the slowest link carries over the time: the same figures, but S for
broadcast and reduce, whose chain carries all of S over each of its links.
"""

# Sizes of the types as PyTorch's traces write them, lower case.
_ELEMENT_BYTES = {
    "double": 8, "float64": 8, "long": 8, "int64": 8, "long int": 8,
    "complexfloat": 8, "complexdouble": 16,
    "float": 4, "float32": 4, "int": 4, "int32": 4, "uint32": 4, "uint64": 8,
    "half": 2, "float16": 2, "bfloat16": 2, "c10::bfloat16": 2, "c10::half": 2,
    "short": 2, "int16": 2, "short int": 2, "uint16": 2,
    "byte": 1, "char": 1, "bool": 1, "int8": 1, "uint8": 1, "signed char": 1, "unsigned char": 1,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1,
}  # fmt: skip

_HALVES = frozenset({"all_gather", "reduce_scatter", "all_to_all"})
_CHAINS = frozenset({"broadcast", "reduce", "gather", "scatter"})
# Collectives that no rank leaves before all have entered: their ends lie together on all ranks.
SYNCHRONISING = frozenset({"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "barrier"})


def element_bytes(element_type: str | None) -> int | None:
    """Bytes of one element of a type as a trace names it; None: unknown."""
    if element_type is None:
        return None
    return _ELEMENT_BYTES.get(element_type.strip().lower())


def message_elements(
    name: str, elements_in: int | None, elements_out: int | None, group_size: int | None
) -> int | None:
    """Elements of the full buffer: of the gathered parts, where a rank gives only its own."""
    known = [count for count in (elements_in, elements_out) if count is not None]
    if not known:
        return None
    if name == "all_gather" and elements_out is None:
        return elements_in * group_size if elements_in is not None and group_size else None
    if name == "reduce_scatter" and elements_in is None:
        return elements_out * group_size if elements_out is not None and group_size else None
    return max(known) if name in _HALVES else known[0]


def sent_share(name: str, ranks: int) -> float | None:
    """What each rank must send over the full buffer; in the mean, where ranks differ."""
    if ranks < 1:
        return None
    if name == "all_reduce":
        return 2 * (ranks - 1) / ranks
    if name in _HALVES or name in _CHAINS:
        return (ranks - 1) / ranks
    return {"send": 1.0, "recv": 0.0, "barrier": 0.0, "send_recv": 1.0}.get(name)


def bus_share(name: str, ranks: int) -> float | None:
    """What the busiest link carries over the full buffer, as nccl-tests count it."""
    if ranks < 2:
        return None
    if name in {"broadcast", "reduce"}:
        return 1.0
    if name in {"barrier", "recv"}:
        return None
    return sent_share(name, ranks)
