"""What names and shapes of events say: copies and their ways, collectives and their messages."""

import math
import re
from typing import NamedTuple

import msgspec
import polars as pl

from topout.trace.table import COPY_KINDS, SCHEMA, CopyKind, EventKind

# nvprof and Kineto write "HtoD", Nsight Systems "Host-to-Device", ROCm "HostToDevice" and
# "HOST_TO_DEVICE", JAX "H2D", Intel "M2D" (memory of the host); an array (A) lies on the device.
# The first that is found decides.
_WAYS: tuple[tuple[CopyKind, str], ...] = (
    ("HtoH", r"htoh|[hm]2[hm]|host[-_ ]?to[-_ ]?host"),
    ("PtoP", r"ptop|p2p|peer[-_ ]?to[-_ ]?peer"),
    ("DtoD", r"dtod|d2d|dtoa|atod|atoa|(device|array)[-_ ]?to[-_ ]?(device|array)"),
    ("DtoH", r"dtoh|d2[hm]|atoh|(device|array)[-_ ]?to[-_ ]?host"),
    ("HtoD", r"htod|[hm]2d|htoa|host[-_ ]?to[-_ ]?(device|array)"),
)
_COPY = re.compile(
    r"\[?(cuda |unified memory |um )?memcpy|copy(host|device)to(host|device)|"
    r"(memory_copy_)?(host|device)[_ ]to[_ ](host|device)$"
)
_FILL = re.compile(r"\[?(cuda )?memset|fillbuffer$")
# What unified memory does while nothing moves: pages that were missed, or wait to be moved.
_PAGES = re.compile(
    r"\[?(cuda |unified memory |um )*"
    r"((gpu|cpu) page fault|page (throttle|fault)|thrash|remote map)"
)
_LIBRARY = re.compile(
    r"nccl|rccl|mscclkernel|mscclpp|oneccl|cross_device_reduce|trtllm_allreduce|"
    r"(one|two)_?shot_?all_?reduce"
)
# Names as PyTorch and the kernels of libraries write them, without "_"; what a name has first of
# these is its collective: "reduce" is part of others.
_COLLECTIVES = {
    "crossdevicereduce": "all_reduce",
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
RECORD_NAME = "record_param_comms"  # the host's operator that knows what a collective moves
_FIELDS = (
    "collective", "elements_in", "elements_out", "element_type", "group_size", "group_name",
)  # fmt: skip
# Every rank gets as much as it gives.
_SAME_SIZE_OUT = ("all_reduce", "broadcast", "reduce")
_NO_ELEMENT_TYPES = ("", "Scalar", "ScalarList", "TensorList", "GenericList")
_SHAPES = msgspec.json.Decoder(list[msgspec.Raw])
_SIZES = msgspec.json.Decoder(list[int])
_LIST_OF_SIZES = msgspec.json.Decoder(list[list[int]])


def work_kind(name: str) -> EventKind:
    """ "memcpy", "memset" or "kernel" for the name of something that ran on a device.

    What is no work at all, such as a group of page faults, is "other".
    """
    lower = name.lower()
    if _COPY.match(lower):
        return "memcpy"
    if _PAGES.match(lower):
        return "other"
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
            pl.Series("copy_kind", ways, pl.Enum(COPY_KINDS)),
            pl.Series("collective", [collective_of_kernel(text) for text in texts], pl.String),
        ]
    )


class Message(NamedTuple):
    """What one rank gives to a collective."""

    elements: int
    element_type: str | None


def with_messages(events: pl.DataFrame, group_sizes: tuple[int, ...] = ()) -> pl.DataFrame:
    """`events` with the columns of messages on those events that carry a collective out.

    These are kernels, and the annotations of back ends that work on the host ("gloo:all_reduce").
    Kernels of older profilers, and of AMD's, are joined with the operator `record_param_comms`
    around them by its External id; the operator itself keeps nothing, or it would count twice.
    `group_sizes` are those of all process groups: the size is known where there is one.
    """
    numbered = events.with_row_index("row")
    found = pl.concat([_of_kernels(numbered), _of_annotations(numbered, group_sizes)])
    keep = pl.col("kind") == "kernel"
    cleared = numbered.with_columns(pl.when(keep).then(pl.col(name)) for name in _FIELDS)
    return cleared.update(found, on="row", how="left").drop("row")


def _typed(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select("row", *(pl.col(name).cast(SCHEMA[name]) for name in _FIELDS))


def _of_kernels(events: pl.DataFrame) -> pl.DataFrame:
    """Of kernels that do not say themselves what they carry out."""
    silent = events.lazy().filter((pl.col("kind") == "kernel") & pl.col("collective").is_null())
    kernels = silent.select("row", "name", "external").collect()
    names = kernels["name"].unique().to_list()
    by_name = {name: collective_of_kernel(name) for name in names if name is not None}
    of_nccl = [name for name, collective in by_name.items() if collective]
    if not of_nccl:
        return _typed(events.clear())
    kernels = kernels.with_columns(pl.col("name").cast(pl.String)).filter(
        pl.col("name").is_in(of_nccl)
    )
    own = pl.col("name").replace_strict(by_name, return_dtype=pl.String)
    joined = kernels.join(_records(events), on="external", how="left")
    # Names know the algorithm's collective, records what was asked for: the record goes first.
    return _typed(joined.with_columns(pl.coalesce(pl.col("collective").cast(pl.String), own)))


def _records(events: pl.DataFrame) -> pl.DataFrame:
    """What each `record_param_comms` says, by External id."""
    is_record = (pl.col("name") == RECORD_NAME) & pl.col("external").is_not_null()
    records = events.filter(is_record & (pl.col("kind") == "cpu_op"))
    records = records.unique("external", keep="first", maintain_order=True)
    silent = records.filter(pl.col("elements_in").is_null())
    records = records.select("row", "external", *_FIELDS)
    if len(silent):
        records = records.update(_with_sizes(silent).select("row", "elements_in"), on="row")
    return records.drop("row")


def _of_annotations(events: pl.DataFrame, group_sizes: tuple[int, ...]) -> pl.DataFrame:
    """Of the host's own collectives; they say the shapes of what they move."""
    annotations = events.filter(pl.col("kind") == "annotation")
    names = [name for name in annotations["name"].unique().to_list() if name is not None]
    by_name = {name: found for name in names if (found := collective_of_annotation(name))}
    if not by_name:
        return _typed(events.clear())
    annotations = annotations.with_columns(pl.col("name").cast(pl.String))
    annotations = annotations.filter(pl.col("name").is_in(list(by_name)))
    collective = pl.col("name").replace_strict(by_name, return_dtype=pl.String)
    sized = _with_sizes(annotations.with_columns(collective.alias("collective")))
    same = pl.col("collective").is_in(_SAME_SIZE_OUT)
    group_size = group_sizes[0] if len(group_sizes) == 1 else None
    return _typed(
        sized.with_columns(
            pl.when(same).then("elements_in").alias("elements_out"),
            pl.coalesce("group_size", pl.lit(group_size, pl.Int32)),
        )
    )


def _with_sizes(events: pl.DataFrame) -> pl.DataFrame:
    """With elements and their type from the shapes of what each event was given."""
    pairs = events.select("shapes", "element_types").unique()
    messages = [message_of(shapes, types) for shapes, types in pairs.iter_rows()]
    pairs = pairs.with_columns(
        pl.Series("elements_in", [each and each.elements for each in messages], pl.Int64),
        pl.Series("element_type", [each and each.element_type for each in messages], pl.String),
    )
    bare = events.drop("elements_in", "element_type")
    return bare.join(pairs, on=["shapes", "element_types"], how="left", nulls_equal=True)


def message_of(shapes: str | None, element_types: str | None) -> Message | None:
    """What the input shapes of such an annotation, as JSON text, say of its message.

    None where they cannot be read.
    """
    try:
        types = msgspec.json.decode(element_types or "[]", type=list[str])
        given = [bytes(shape) for shape in _SHAPES.decode(shapes or "null")]
        pairs = zip(given, [*types, *[""] * len(given)], strict=False)
        elements = sum(_elements(shape, element_type) for shape, element_type in pairs)
    except msgspec.DecodeError:
        return None
    tensors = [type_ for type_ in types if type_ not in _NO_ELEMENT_TYPES]
    return Message(elements, tensors[0] if tensors else None)


def _elements(shape: bytes, element_type: str) -> int:
    """Of one tensor, or of all in a list of tensors; what is no tensor has no shape."""
    if shape.startswith(b"[["):
        return sum(math.prod(each) for each in _LIST_OF_SIZES.decode(shape))
    sizes = _SIZES.decode(shape)
    is_tensor = bool(sizes) or element_type not in _NO_ELEMENT_TYPES
    return math.prod(sizes) if is_tensor else 0
