"""The machine of a run and its measured ceilings, as every page shows them."""

from topout import units
from topout.records import Ceilings, Machine, ModelSummary, WorkloadSummary
from topout.report.document import Absent, Column, Facts, Part, Section, Table, table_of
from topout.report.figures import precision, rate_unit_of


def machine_facts(machine: Machine) -> list[tuple[str, str]]:
    """What the machine is: pairs of name and value, those that are known."""
    torch = machine.torch
    facts = [
        ("Processor", machine.cpu_model),
        ("Cores", _cores(machine)),
        ("Vector units", ", ".join(machine.vector_isa)),
        ("Caches", ", ".join(f"{c.name} {units.memory(c.size_bytes)}" for c in machine.caches)),
        ("Memory", units.memory(machine.memory_bytes)),
        ("Accelerators", ", ".join(gpu.name for gpu in machine.gpus)),
        ("System", f"{machine.os}, Linux {machine.kernel}, {machine.architecture}"),
        ("Hypervisor", machine.hypervisor or ""),
        ("Transparent huge pages", machine.transparent_huge_pages or ""),
        ("PyTorch", torch.version if torch else ""),
        ("Compiler", machine.compiler.version if machine.compiler else ""),
        ("Host", machine.hostname),
    ]
    return [(name, value) for name, value in facts if value]


def workload_sentence(model: ModelSummary, work: WorkloadSummary, *manner: str) -> str:
    """What was run, and in what `manner`: a backend, threads, a device."""
    how = ", ".join([precision(work.dtype, work.dtype_origin), *manner])
    weights = f"{units.parameters(model.parameters)} parameters ({model.weights} weights)"
    asked = f"prompt {work.prompt_len} tokens, {work.new_tokens} new"
    if work.task == "forward":
        asked = f"one pass over {_input(work)}"
    return f"{weights}, {how}; {asked}, batch {work.batch_size}"


def _input(work: WorkloadSummary) -> str:
    """What one input of a pass is."""
    size = work.image_size
    return f"an image of {size}×{size}" if size else f"{work.prompt_len} tokens"


def workload_facts(
    model: ModelSummary,
    work: WorkloadSummary,
    *more: tuple[str, str],
    decoding: str = "greedy",
    source: str = "",
    weight_bytes: int | None = None,
) -> Facts:
    """What was run: the model, the prompt and where it is from, and `more` of how."""
    weights = [("Weights", units.memory(weight_bytes))] if weight_bytes is not None else []
    built_as = model.class_name or model.architecture
    pairs = [
        ("Model", f"{model.name} ({built_as}, {model.weights} weights)"),
        ("Parameters", units.parameters(model.parameters)),
        *weights,
        ("Shape", ", ".join(_shape(model))),
        *asked(work, decoding, f" of {source}" if source else ""),
        ("Batch", str(work.batch_size)),
        ("Precision", precision(work.dtype, work.dtype_origin)),
    ]
    return Facts([*pairs, *more], "What was run")


def _shape(model: ModelSummary) -> list[str]:
    heads = [f"{model.heads} heads"] if model.heads else []
    return [f"{model.layers} layers", f"{model.width} wide", *heads]


def asked(work: WorkloadSummary, decoding: str = "", source: str = "") -> list[tuple[str, str]]:
    """The input, and what is generated after it."""
    if work.task == "forward":
        return [("One pass over", f"{_input(work)}{source}")]
    return [
        ("Prompt", f"{work.prompt_len} tokens{source}"),
        ("New tokens", f"{work.new_tokens}, {decoding}" if decoding else str(work.new_tokens)),
    ]


def machine_section(
    title: str, machine: Machine, *parts: Part, ceilings: Ceilings | None = None
) -> Section:
    """The machine, what was asked of it (`parts`), and the ceilings where they were measured."""
    return Section(
        title,
        [
            Facts(machine_facts(machine)),
            Absent(machine.reasons),
            *parts,
            *(ceiling_parts(ceilings) if ceilings is not None else []),
        ],
        key="machine",
        only="page",
    )


def ceiling_parts(ceilings: Ceilings) -> list[Part]:
    """What the machine was measured to reach: arithmetic, bandwidth, overheads."""
    quickly = ", quickly" if ceilings.quick else ""
    tables = [_compute(ceilings), _bandwidth(ceilings), _overheads(ceilings)]
    title = f"What this machine was measured to reach, {ceilings.measured_at}{quickly}"
    return [Section(title, tables, columns=True), Absent(ceilings.reasons)]


def _compute(ceilings: Ceilings) -> Table:
    return table_of(
        ceilings.compute,
        [
            (Column("Type", text=True), lambda each: each.dtype),
            ("Threads", lambda each: str(each.threads)),
            (Column("Reached with", text=True), lambda each: each.instruction),
            ("Best trial", lambda each: units.si(each.flops_per_s, rate_unit_of(each.dtype))),
        ],
        "Arithmetic",
    )


def _bandwidth(ceilings: Ceilings) -> Table:
    return table_of(
        ceilings.bandwidth,
        [
            (Column("Level", text=True), lambda each: each.level),
            ("Threads", lambda each: str(each.threads)),
            (Column("Pages", text=True), lambda each: each.page),
            ("Working set", lambda each: units.memory(each.working_set_bytes)),
            ("Best trial", lambda each: units.bytes_per_s(each.bytes_per_s)),
        ],
        "Bandwidth (read)",
    )


def _overheads(ceilings: Ceilings) -> Table:
    return table_of(
        ceilings.overheads,
        [
            (Column("Of", text=True), lambda each: each.name),
            ("Threads", lambda each: str(each.threads)),
            ("Least time", lambda each: units.seconds(each.time_s)),
        ],
        "Overhead",
    )


def _cores(machine: Machine) -> str:
    parts = [f"{machine.usable_cpus} usable of {machine.logical_cpus} logical CPUs"]
    if machine.physical_cores is not None:
        parts.append(units.counted(machine.physical_cores, "physical core"))
    if machine.sockets is not None:
        parts.append(units.counted(machine.sockets, "socket"))
    return ", ".join(parts)
