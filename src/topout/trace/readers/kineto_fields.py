"""What of a Kineto event is read, and under which names older and newer profilers wrote it."""

from topout.kernels.trace_ops import Field
from topout.trace.table import EventKind

NANOSECONDS = 3  # the file counts in microseconds
MILLIONTHS = 6

FIELDS: tuple[Field, ...] = (
    Field("phase", ("ph",), False, "text"),
    Field("category", ("cat",), False, "text"),
    Field("start", ("ts",), False, "number", NANOSECONDS),
    Field("duration", ("dur",), False, "number", NANOSECONDS),
    Field("name", ("name",), False, "text"),
    Field("process", ("pid",), False, "lane"),
    Field("thread", ("tid",), False, "lane"),
    Field("external", ("External id", "external id", "External Id"), True, "number"),
    Field("correlation", ("correlation",), True, "number"),
    Field("device", ("device",), True, "number"),
    Field("stream", ("stream",), True, "lane"),
    Field("copied_bytes", ("bytes",), True, "number"),
    Field("from_device", ("fromDevice",), True, "number"),
    Field("to_device", ("toDevice",), True, "number"),
    Field("occupancy", ("est. achieved occupancy %",), True, "number", MILLIONTHS),
    Field("blocks_per_sm", ("blocks per SM",), True, "number", MILLIONTHS),
    Field("collective", ("Collective name",), True, "text"),
    Field("elements_in", ("In msg nelems",), True, "number"),
    Field("elements_out", ("Out msg nelems",), True, "number"),
    Field("element_type", ("dtype",), True, "text"),
    Field("group_size", ("Group size",), True, "number"),
    Field("group_name", ("Process Group Name",), True, "text"),
    Field("rank", ("Rank",), True, "number"),
    Field("shapes", ("Input Dims", "Input dims"), True, "json"),
    Field("element_types", ("Input type", "Input Type"), True, "json"),
    Field("flops", ("flops", "Flops", "FLOPs"), True, "number"),
    Field("sequence", ("Sequence number", "Sequence Number"), True, "number"),
    Field("changed_bytes", ("Bytes",), True, "number"),
    Field("allocated_bytes", ("Total Allocated",), True, "number"),
    Field("reserved_bytes", ("Total Reserved",), True, "number"),
    Field("memory_device_type", ("Device Type",), True, "number"),
    Field("memory_device", ("Device Id",), True, "number"),
)

# By the category in lower case: the profiler of PyTorch 1.8 wrote "Kernel" and "Operator".
_KINDS: dict[str, EventKind] = {
    "kernel": "kernel",
    "concurrent_kernel": "kernel",
    "gpu_memcpy": "memcpy",
    "memcpy": "memcpy",
    "gpu_memset": "memset",
    "memset": "memset",
    "gpu_user_annotation": "gpu_annotation",
    "cuda_sync": "gpu_sync",
    "cpu_op": "cpu_op",
    "operator": "cpu_op",
    "runtime": "runtime",
    "cuda_runtime": "runtime",
    "cuda_driver": "runtime",
    "hip_runtime": "runtime",
    "hip_driver": "runtime",
    "xpu_runtime": "runtime",
    "xpu_driver": "runtime",
    "privateuse1_runtime": "runtime",
    "privateuse1_driver": "runtime",
    "user_annotation": "annotation",
    "python_function": "python",
}
MEMORY_NAME = "[memory]"
INSTANT_CATEGORY = "cpu_instant_event"
HOST_DEVICE_TYPE = 0  # of "Device Type": PyTorch's number for the CPU


def kind_of_category(category: str) -> EventKind:
    """The kind of an event of this category, whatever its name."""
    return _KINDS.get(category.lower(), "other")
