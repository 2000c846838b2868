"""The words of a cost report that terminal and page share: what was asked, phases, figures."""

from collections.abc import Callable

from topout import units
from topout.records import CostReport, Interval, MachineCost, PhaseCost, PhaseName
from topout.report.figures import precision

PHASES: tuple[PhaseName, ...] = ("prefill", "decode", "forward", "training")
BOUNDS = ("memory", "compute", "overhead", "communication", "bubble")

_KINDS = {"encoder_decoder": "encoder and decoder", "image": "image model"}
_SAMPLES = {"image": "image", "module": "sample"}  # of kinds that are given no tokens


def model_sentence(report: CostReport) -> str:
    """What the model is: "decoder (llama), 32 layers, 4096 wide, 32 heads, …"."""
    model = report.model
    parts = [
        f"{_KINDS.get(model.kind, model.kind)} ({model.architecture})",
        _plural(model.layers, "layer"),
    ]
    if model.width:
        parts.append(f"{model.width} wide")
    if model.heads is not None:
        shared = model.kv_heads is not None and model.kv_heads != model.heads
        kv_heads = f" ({model.kv_heads} of keys and values)" if shared else ""
        parts.append(_plural(model.heads, "head") + kv_heads)
    if model.vocab_size is not None:
        parts.append(f"vocabulary {model.vocab_size}")
    if model.context_len is not None:
        parts.append(f"context {model.context_len}")
    return ", ".join(parts)


def parameters_sentence(report: CostReport) -> str:
    """All parameters, those that a token passes through, and where they are."""
    model = report.model
    text = f"{units.parameters(model.parameters)} parameters"
    if model.active_parameters != model.parameters:
        text += f", of which a token passes through {units.parameters(model.active_parameters)}"
    parts = [f"{name} {units.parameters(size)}" for name, size in model.parameters_by_part.items()]
    return f"{text}: {', '.join(parts)}" if parts else text


def asked_sentence(report: CostReport) -> str:
    """What was asked of the model: sizes, types, devices and execution mode."""
    work, kind = report.workload, report.model.kind
    parts = []
    if kind in _SAMPLES:
        parts.append(_plural(work.batch_size, _SAMPLES[kind]))
    else:
        length = "prompt" if kind in ("decoder", "encoder_decoder") else "sequence"
        parts.append(f"{length} of {_plural(work.prompt_len, 'token')}")
        if kind != "encoder":
            parts.append(f"decode at context {work.context_len}")
        parts.append(f"batch {work.batch_size}")
    parts.append(_types(report))
    for name, size in (
        ("tensor", work.tensor_parallel),
        ("data", work.data_parallel),
        ("pipeline", work.pipeline_parallel),
    ):
        if size > 1:
            parts.append(f"{name} parallel {size}")
    stated = {
        "sequence parallel": work.sequence_parallel,
        "plain attention": work.attention == "plain",
        "dropout": work.dropout,
    }
    parts += [name for name, is_so in stated.items() if is_so]
    if work.micro_batches is not None:
        parts.append(f"micro-batches {work.micro_batches}")
    if work.interleave > 1:
        parts.append(f"chunks a device {work.interleave}")
    return ", ".join([*parts, work.mode])


def phase_title(report: CostReport, phase: PhaseName) -> str:
    """A phase with its sizes: "Decode, context 1024, batch 1"."""
    work = report.workload
    if report.model.kind in _SAMPLES:
        size = _plural(work.batch_size, _SAMPLES[report.model.kind])
    else:
        size = f"{_plural(work.prompt_len, 'token')}, batch {work.batch_size}"
    return {
        "prefill": f"Prefill, {size}",
        "decode": f"Decode, context {work.context_len}, batch {work.batch_size}",
        "forward": f"Forward pass, {size}",
        "training": f"Training step, {size}",
    }[phase]


def placed(report: CostReport) -> list[MachineCost]:
    """The machines that there are figures for: a report without any carries counts alone."""
    return [machine for machine in report.machines if machine.hardware is not None]


def phase_of(machine: MachineCost, phase: PhaseName) -> PhaseCost | None:
    """The phase of this name, where the machine has one."""
    cost: PhaseCost | None = getattr(machine, phase)
    return cost


def phases_of(report: CostReport) -> list[PhaseName]:
    """The phases that any machine of the report has, in the order in which they are read."""
    return [name for name in PHASES if any(phase_of(m, name) for m in report.machines)]


def rate_phase(report: CostReport) -> PhaseName | None:
    """The phase whose rate is compared: decode, or the forward pass; None without any rate."""
    for phase in ("decode", "forward"):
        if any(rate_of(report, machine, phase) is not None for machine in placed(report)):
            return phase
    return None


def rate_name(report: CostReport, phase: PhaseName) -> str:
    """What comes out of a phase, per second."""
    if report.model.kind in _SAMPLES:
        return f"{_SAMPLES[report.model.kind]}s/s"
    return "sequences/s" if phase == "forward" else "tokens/s"


def rate_of(report: CostReport, machine: MachineCost, phase: PhaseName) -> float | None:
    """A phase's rate in the unit of `rate_name`; None where there is no time."""
    cost = phase_of(machine, phase)
    if cost is None:
        return None
    if phase == "decode" and machine.decode_tokens_per_s is not None:
        return machine.decode_tokens_per_s
    if phase == "forward" and report.model.kind not in _SAMPLES:
        return report.workload.batch_size / cost.time_s if cost.time_s else None
    return cost.tokens_per_s


def rate_interval(report: CostReport, machine: MachineCost, phase: PhaseName) -> Interval | None:
    """The interval of `rate_of`, as sure as the phase's time is."""
    if phase == "decode" and machine.interval is not None:
        return machine.interval
    cost, rate = phase_of(machine, phase), rate_of(report, machine, phase)
    if cost is None or cost.interval_s is None or rate is None or cost.time_s is None:
        return None
    ends = cost.interval_s
    if not (ends.low > 0 and ends.high > 0):
        return None
    return Interval(low=rate * cost.time_s / ends.high, high=rate * cost.time_s / ends.low)


def span(interval: Interval | None, show: Callable[[float], str]) -> str:
    """An interval with its unit once, where both ends have the same: "10.1–15.0 ms"."""
    if interval is None:
        return ""
    low, high = show(interval.low), show(interval.high)
    number, _, unit = low.partition(" ")
    if unit and high.endswith(f" {unit}") and " " not in unit:
        low = number
    return f"{low}–{high}"


def flops(value: float | None) -> str:
    """A count of FLOPs: "12.3 GFLOP"."""
    return units.si(value, "FLOP")


def traffic(value: float | None) -> str:
    """Bytes that are moved, decimal prefixes: "12.3 GB"."""
    return units.si(value, "B")


def intensity(value: float | None) -> str:
    """Arithmetic intensity in FLOP/byte, without its unit."""
    return units.ABSENT if value is None else units.significant(value)


def _types(report: CostReport) -> str:
    work = report.workload
    others = []
    if work.weight_dtype != work.dtype or work.weight_origin:
        why = f" ({work.weight_origin})" if work.weight_origin else ""
        others.append(f"weights {work.weight_dtype}{why}")
    if work.kv_dtype != work.dtype and report.memory.kv_cache_bytes is not None:
        others.append(f"KV cache {work.kv_dtype}")
    return precision(work.dtype, work.dtype_origin, *others)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
