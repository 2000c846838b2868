"""Which collective an event is, by all the names that PyTorch and its back ends use."""

import math
import re
from typing import NamedTuple

import msgspec

RECORD_NAME = "record_param_comms"  # the host's operator that knows what a collective moves
# ncclDevKernel_AllReduce_Sum_f32_RING_LL(…), ncclKernel_ReduceScatter_RING_LL_Sum_float(…),
# ncclAllReduceRingLLKernel_sum_f32(…)
_NCCL_KERNEL = re.compile(
    r"nccl(?:(?:Dev)?Kernel_)?"
    r"(AllReduce|AllGather|ReduceScatter|Broadcast|Reduce|SendRecv|AllToAll)",
    re.IGNORECASE,
)
_HOST_ANNOTATION = re.compile(r"(?:gloo|mpi|ucc):(\w+)")
# After "_" and "tensor", "base", "coalesced", "into" are taken out.
_CANONICAL = {
    "allreduce": "all_reduce",
    "reduce": "reduce",
    "allgather": "all_gather",
    "gather": "gather",
    "scatter": "scatter",
    "reducescatter": "reduce_scatter",
    "broadcast": "broadcast",
    "alltoall": "all_to_all",
    "alltoallv": "all_to_all",
    "send": "send",
    "recv": "recv",
    "sendrecv": "send_recv",
    "barrier": "barrier",
}
_DECORATION = re.compile(r"_|tensor|base|coalesced|into|sparse|single")
_NO_ELEMENT_TYPES = ("", "Scalar", "ScalarList", "TensorList", "GenericList")
_SHAPES = msgspec.json.Decoder(list[msgspec.Raw])
_SIZES = msgspec.json.Decoder(list[int])
_LIST_OF_SIZES = msgspec.json.Decoder(list[list[int]])


class Message(NamedTuple):
    """What one rank gives to a collective."""

    elements: int
    element_type: str | None


def canonical_collective(name: str) -> str:
    """ "all_reduce" for "allreduce", "_allgather_base" …; a name that is not known stays."""
    return _CANONICAL.get(_DECORATION.sub("", name.lower()), name)


def collective_of_kernel(name: str) -> str | None:
    """The collective of a kernel of NCCL (or RCCL), by its name alone."""
    found = _NCCL_KERNEL.search(name)
    return canonical_collective(found[1]) if found else None


def collective_of_annotation(name: str) -> str | None:
    """The collective of "gloo:all_reduce" and the like, which the host itself carries out."""
    found = _HOST_ANNOTATION.fullmatch(name)
    return canonical_collective(found[1]) if found else None


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
