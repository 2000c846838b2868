"""What the name of an event says: whether it copies or fills, which way, and which collective."""

import re

import polars as pl

from topout.trace.table import COPY_KINDS, CopyKind, EventKind

# nvprof and Kineto write "HtoD", Nsight Systems "Host-to-Device", ROCm "HostToDevice"; an array
# (A) lies on the device. The first that is found decides.
_WAYS: tuple[tuple[CopyKind, str], ...] = (
    ("HtoH", r"htoh|host-?to-?host"),
    ("PtoP", r"ptop|peer-?to-?peer"),
    ("DtoD", r"dtod|dtoa|atod|atoa|(device|array)-?to-?(device|array)"),
    ("DtoH", r"dtoh|atoh|(device|array)-?to-?host"),
    ("HtoD", r"htod|htoa|host-?to-?(device|array)"),
)
_COPY = re.compile(r"\[?(cuda |unified memory |um )?memcpy")
_FILL = re.compile(r"\[?(cuda )?memset")
_LIBRARY = re.compile(r"nccl|rccl|mscclkernel|oneccl")
# Names as PyTorch and the kernels of libraries write them, without "_"; what a name has first of
# these is its collective: "reduce" is part of others.
_COLLECTIVES = {
    "allreduce": "all_reduce",
    "allgather": "all_gather",
    "reducescatter": "reduce_scatter",
    "alltoallv": "all_to_all",
    "alltoall": "all_to_all",
    "broadcast": "broadcast",
    "bcast": "broadcast",
    "sendrecv": "send_recv",
    "reduce": "reduce",
    "gather": "gather",
    "scatter": "scatter",
    "send": "send",
    "recv": "recv",
    "barrier": "barrier",
}
_DECORATION = re.compile(r"_|tensor|base|coalesced|into|sparse|single")
_HOST_ANNOTATION = re.compile(r"(?:gloo|mpi|ucc):(\w+)")


def work_kind(name: str) -> EventKind:
    """ "memcpy", "memset" or "kernel" for the name of something that ran on a device."""
    lower = name.lower()
    if _COPY.match(lower):
        return "memcpy"
    return "memset" if _FILL.match(lower) else "kernel"


def copy_kind(name: str) -> CopyKind | None:
    """The direction in the name of a copy: "Memcpy HtoD (Pinned -> Device)"; None: not said."""
    lower = name.lower()
    return next((kind for kind, pattern in _WAYS if re.search(pattern, lower)), None)


def canonical_collective(name: str) -> str:
    """ "all_reduce" for "allreduce", "_allgather_base" …; a name that is not known stays."""
    return _COLLECTIVES.get(_DECORATION.sub("", name.lower()), name)


def collective_of_kernel(name: str) -> str | None:
    """The collective that a kernel of a communication library carries out; None for all else.

    `ncclDevKernel_AllReduce_Sum_f32_RING_LL` and `ncclAllReduceRingLLKernel_sum_f32` are both
    "all_reduce".
    """
    lower = name.lower()
    if not _LIBRARY.search(lower):
        return None
    plain = lower.replace("_", "")
    return next((known for word, known in _COLLECTIVES.items() if word in plain), None)


def collective_of_annotation(name: str) -> str | None:
    """The collective of "gloo:all_reduce" and the like, which the host itself carries out."""
    found = _HOST_ANNOTATION.fullmatch(name)
    return canonical_collective(found[1]) if found else None


def meanings_of(names: pl.Series) -> pl.DataFrame:
    """The distinct `names` of device work with what they say: name, work, copy_kind, collective."""
    distinct = names.unique()
    texts = distinct.cast(pl.String).fill_null("").to_list()
    work = [work_kind(text) for text in texts]
    ways = [
        copy_kind(text) if kind == "memcpy" else None
        for text, kind in zip(texts, work, strict=True)
    ]
    return pl.DataFrame(
        [
            distinct.alias("name"),
            pl.Series("work", work, pl.String),
            pl.Series("copy_kind", ways, pl.Enum(list(COPY_KINDS))),
            pl.Series("collective", [collective_of_kernel(text) for text in texts], pl.String),
        ]
    )
