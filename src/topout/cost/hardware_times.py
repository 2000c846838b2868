"""Op times on a machine of which only figures are known: `Hardware`, from a datasheet or a file.

The constants say what running costs beside arithmetic and bytes. None belongs to a model or to a
row of a table. `_GPU["compiled"]` and DEQUANTIZED_SHARE were calibrated together on the five
single-device rows of gpt-fast's published benchmark (github.com/meta-pytorch/gpt-fast: Llama-2-7B
and 70B, A100-80GB, batch 1), COLLECTIVE_S on its three rows of the 7B model over 2 to 8 devices:
least squares of the relative error. `benchmarks/cost_published.py` prints what they predict there,
and for rows and tables that they were not calibrated on.
"""

import msgspec

from topout.cost.collectives import collective_s
from topout.cost.ops import GroupShape, Load, Op, OpTime, Pace, moved_bytes
from topout.records import ComputePeak, Hardware, Link, MemoryLevel
from topout.roofline import level_holding

MODES = ("compiled", "eager")

# Of the bandwidth that a plain read reaches, what a product with quantized weights does: they
# are widened on the way. 16- and 32-bit weights are read at full speed.
DEQUANTIZED_SHARE = {"int8": 0.80, "fp8": 0.80, "int4": 0.68}
# Formats of about as many bits are taken to be read as well as these.
_READ_LIKE = dict.fromkeys(("int2", "int3", "nf4", "mxfp4", "nvfp4"), "int4")
# Where only the datasheet is known: what large reads and products reach of it.
BANDWIDTH_SHARE = 0.85
COMPUTE_SHARE = 0.75
# Attention's products are smaller and share the time with softmax: FlashAttention-2 reports 50 to
# 73 % of an A100's peak (arXiv 2307.08691).
ATTENTION_SHARE = 0.6
LINK_SHARE = 0.8
# One hop of a collective within a node, where the catalog has no figure.
HOP_LATENCY_S = 1.0e-6
# To start a collective and to wait for the other devices, beside its hops.
COLLECTIVE_S = 3.0e-6


class ExecutionMode(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of an op costs in one mode.

    `hidden`: launches run ahead of the device, so that an op takes the longer of the two;
    otherwise the overhead is what lies between two kernels of a captured graph.
    """

    product_s: float  # of a linear layer, attention, convolution
    elementwise_s: float  # 0 where they are fused into their neighbours
    hidden: bool


# A captured graph needs about 50 µs per Llama block beside its bytes: five products.
_GPU = {
    "compiled": ExecutionMode(product_s=10e-6, elementwise_s=0.0, hidden=False),
    # 25.5 tokens/s of Llama-2-7B, eager: 1.2 ms per block of 5 products and 6 others, each of
    # which is several kernels; the CPU is the bottleneck, so it depends on the host.
    "eager": ExecutionMode(product_s=110e-6, elementwise_s=110e-6, hidden=True),
}
# Of a CPU an op of PyTorch costs 3 to 10 µs, and eager elementwise ops are several.
_CPU = {
    "compiled": ExecutionMode(product_s=12e-6, elementwise_s=0.0, hidden=False),
    "eager": ExecutionMode(product_s=8e-6, elementwise_s=12e-6, hidden=False),
}


def execution_mode(hardware: Hardware, name: str) -> ExecutionMode:
    """The overheads of `name` ("compiled", "eager") on a kind of machine."""
    return (_GPU if hardware.device == "gpu" else _CPU)[name]


def weight_read_share(weight_dtype: str) -> float:
    """The share of the bandwidth at which weights of this type are read."""
    kind = weight_dtype.partition("-")[0]
    return DEQUANTIZED_SHARE.get(_READ_LIKE.get(kind, kind), 1.0)


class HardwareTimes:
    """Times from peaks, bandwidths and the execution mode's overheads."""

    def __init__(self, hardware: Hardware, mode: str = "compiled") -> None:
        self.hardware = hardware
        self.mode = execution_mode(hardware, mode)
        # Measured figures are surer than those of a datasheet. An eager run depends on the host
        # (the same model was published at 43 and at 16 ms per token on GPUs of one class).
        self.fast = Pace(compute=1.25, bandwidth=1.12, overhead=0.3 if mode == "eager" else 0.7)
        self.slow = Pace(compute=0.7, bandwidth=0.85, overhead=1.3 if mode == "eager" else 1.6)

    def missing(self, load: Load) -> str | None:
        """Why nothing can be predicted for this load, or None."""
        name = self.hardware.name
        if compute_rate(self.hardware, load.dtype) is None:
            return f"{name} has no {load.dtype} rate{self._reason(f'compute.{load.dtype}')}"
        if memory_bandwidth(self.hardware, load.working_set_bytes) is None:
            return f"{name} has no memory bandwidth{self._reason('levels')}"
        for group in load.groups.values():
            if link_of(self.hardware, group.span) is None:
                return f"{name} has no link between {group.span} devices{self._reason('links')}"
        return None

    def time(self, op: Op, load: Load, pace: Pace) -> OpTime:
        """Seconds of all runs of `op`; `missing(load)` has to be None."""
        if op.kind == "collective":
            return OpTime(communication_s=self._communication_s(op, load) * pace.overhead)
        compute_s = self._compute_s(op, load) / pace.compute
        memory_s = self._memory_s(op, load) / pace.bandwidth
        each = self.mode.product_s if op.is_product else self.mode.elementwise_s
        overhead_s = each * op.count * pace.overhead
        if self.mode.hidden:
            overhead_s = max(0.0, overhead_s - max(compute_s, memory_s))
        return OpTime(compute_s=compute_s, memory_s=memory_s, overhead_s=overhead_s)

    def _compute_s(self, op: Op, load: Load) -> float:
        if not op.is_product:
            return 0.0  # a handful of FLOPs per element: always slower to read than to compute
        rate = compute_rate(self.hardware, load.dtype)
        assert rate is not None
        share = ATTENTION_SHARE if op.kind == "attention" else 1.0
        return op.flops / (rate * share)

    def _memory_s(self, op: Op, load: Load) -> float:
        bandwidth = memory_bandwidth(self.hardware, load.working_set_bytes)
        assert bandwidth is not None
        moved = moved_bytes(op, load.sizes)
        weights_s = moved.weight / weight_read_share(load.weight_dtype_of(op))
        return (weights_s + moved.activation + moved.kv) / bandwidth

    def _communication_s(self, op: Op, load: Load) -> float:
        group = load.groups[op.over]
        link = link_of(self.hardware, group.span)
        assert link is not None
        moving_s = collective_s(
            op.collective,
            moved_bytes(op, load.sizes).total / op.count,
            group.size,
            group_bandwidth(self.hardware, group),
            link.latency_s or HOP_LATENCY_S,
        )
        return op.count * (COLLECTIVE_S + moving_s)

    def _reason(self, path: str) -> str:
        reason = self.hardware.reasons.get(path)
        return f" ({reason})" if reason else ""


def peak_of(hardware: Hardware, dtype: str) -> ComputePeak | None:
    """The peak that a product in `dtype` runs at: matrix units before vector units."""
    peaks = [each for each in hardware.compute if each.dtype == dtype]
    peaks.sort(key=lambda each: each.achievable_flops_per_s or each.spec_flops_per_s or 0.0)
    return peaks[-1] if peaks and _known(peaks[-1]) else None


def compute_rate(hardware: Hardware, dtype: str) -> float | None:
    """FLOP/s that large products reach: measured, else a share of the datasheet's."""
    peak = peak_of(hardware, dtype)
    if peak is None:
        return None
    return _reached(peak.achievable_flops_per_s, peak.spec_flops_per_s, COMPUTE_SHARE)


def level_rate(level: MemoryLevel) -> float | None:
    """Bytes per second that reads of a level reach: measured, else a share of the datasheet's."""
    return _reached(level.achievable_bytes_per_s, level.spec_bytes_per_s, BANDWIDTH_SHARE)


def memory_bandwidth(hardware: Hardware, working_set_bytes: float) -> float | None:
    """Bytes per second from the nearest level of known rate that holds data from op to op."""
    *caches, memory = hardware.levels or [MemoryLevel(name="none")]
    rates = {level.name: rate for level in caches if (rate := level_rate(level)) is not None}
    capacities = ((level.name, level.capacity_bytes) for level in caches if level.name in rates)
    holding = level_holding(capacities, working_set_bytes, across_ops=True)
    return level_rate(memory) if holding is None else rates[holding]


def link_of(hardware: Hardware, devices: int) -> Link | None:
    """The fastest link that joins so many devices."""
    able = [
        link
        for link in hardware.links
        if (link.devices is None or link.devices >= devices) and link_bandwidth(link) > 0
    ]
    return max(able, key=link_bandwidth, default=None)


def link_bandwidth(link: Link) -> float:
    """Bytes per second that one device sends: measured, else a share of the datasheet's."""
    return _reached(link.achievable_bytes_per_s, link.spec_bytes_per_s, LINK_SHARE) or 0.0


def group_bandwidth(hardware: Hardware, group: GroupShape) -> float:
    """Bytes per second at which a group's ring moves a buffer; `link_of` its span has to be there.

    Where the group reaches beyond a node, its members in one node share what their node sends:
    each has a link of its own to other nodes, and a ring uses them all.
    """
    link = link_of(hardware, group.span)
    assert link is not None
    near = [each for each in hardware.links if each.devices and each.devices < group.span]
    if not near or (link.devices is not None and link.devices >= group.span):
        return link_bandwidth(link)
    fastest = max(near, key=link_bandwidth)
    members = min(group.size, max(1, (fastest.devices or 1) // group.stride))
    if members == 1:
        return link_bandwidth(link)
    return min(link_bandwidth(fastest), members * link_bandwidth(link))


def _reached(measured: float | None, spec: float | None, share: float) -> float | None:
    """What was measured, else a share of the datasheet's figure."""
    return measured if measured is not None or spec is None else spec * share


def _known(peak: ComputePeak) -> bool:
    return peak.achievable_flops_per_s is not None or peak.spec_flops_per_s is not None
