"""What moves data, told from the name that a profiler gives it: copies, fills, collectives."""

import polars as pl

from topout.trace.table import COPY_KINDS

# nvprof and Kineto write "HtoD", Nsight Systems "Host-to-Device"; an array (A) lies on the device.
_WAYS = {
    "HtoD": r"htod|htoa|host-to-(device|array)",
    "DtoH": r"dtoh|atoh|(device|array)-to-host",
    "DtoD": r"dtod|dtoa|atod|atoa|(device|array)-to-(device|array)",
    "PtoP": r"ptop|peer-to-peer",
    "HtoH": r"htoh|host-to-host",
}
_COPY = r"^\[?(cuda |unified memory |um )?memcpy"
_FILL = r"^\[?(cuda )?memset"
_NCCL = r"(nccl|rccl|mscclkernel|oneccl)"
# The first that is found names the collective: "reduce" is part of others.
_COLLECTIVES = {
    "all_reduce": r"all_?reduce",
    "all_gather": r"all_?gather",
    "reduce_scatter": r"reduce_?scatter",
    "all_to_all": r"all_?to_?all",
    "broadcast": r"broadcast|bcast",
    "send_recv": r"send_?recv|sendrecv",
    "reduce": r"reduce",
    "send": r"send",
    "recv": r"recv",
}


def work_kind(name: pl.Expr) -> pl.Expr:
    """ "memcpy", "memset" or "kernel" for the name of something that ran on a device."""
    lower = name.cast(pl.String).str.to_lowercase()
    return (
        pl.when(lower.str.contains(_COPY))
        .then(pl.lit("memcpy"))
        .when(lower.str.contains(_FILL))
        .then(pl.lit("memset"))
        .otherwise(pl.lit("kernel"))
    )


def copy_kind(name: pl.Expr) -> pl.Expr:
    """One of COPY_KINDS for the name of a copy; null for all else and where it does not say."""
    lower = name.cast(pl.String).str.to_lowercase()
    found: pl.Expr = pl.lit(None, dtype=pl.String)
    for way, pattern in _WAYS.items():
        found = pl.when(lower.str.contains(pattern)).then(pl.lit(way)).otherwise(found)
    kinds = pl.Enum(list(COPY_KINDS))
    return pl.when(lower.str.contains(_COPY)).then(found).otherwise(None).cast(kinds)


def collective(name: pl.Expr) -> pl.Expr:
    """The collective that a kernel of a communication library carries out; null for all else.

    `ncclDevKernel_AllReduce_Sum_f32_RING_LL` and `ncclAllReduceRingLLKernel_sum_f32` are both
    "all_reduce".
    """
    lower = name.cast(pl.String).str.to_lowercase()
    found: pl.Expr = pl.lit(None, dtype=pl.String)
    for word, pattern in reversed(_COLLECTIVES.items()):
        found = pl.when(lower.str.contains(pattern)).then(pl.lit(word)).otherwise(found)
    return pl.when(lower.str.contains(_NCCL)).then(found).otherwise(None)
