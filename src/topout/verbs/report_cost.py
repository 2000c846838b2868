"""`topout cost`: what a model needs, how long it takes on each machine, and whether it fits."""

from typing import cast

import msgspec

from topout.cost.counted import Counting, counted_training_table
from topout.cost.estimate import (
    count_phase,
    kv_cache_saving,
    time_phase,
    with_utilization,
)
from topout.cost.findings import findings_of
from topout.cost.memory import InferenceLoad, cost_memory, machine_fit
from topout.cost.ops import CONVENTIONS, ELEMENT_BYTES
from topout.cost.phases import Phase, Plan, phases, sequence_len
from topout.cost.pipeline import pipeline_of
from topout.cost.training import TrainingDtype, TrainingPlan, TrainingStep
from topout.cost.training_memory import training_table
from topout.errors import UnsupportedError
from topout.extras import require
from topout.import_path import names_own_code
from topout.models.architecture import (
    Architecture,
    parameters_by_part,
)
from topout.models.architectures.read import (
    FoundConfig,
    architecture_of,
    find_config,
)
from topout.models.precision import Precision, precision_of
from topout.progress import Notify
from topout.records import (
    CostReport,
    Hardware,
    Interval,
    MachineCost,
    MachineFit,
    OpCost,
    PhaseCost,
    TrainingMemory,
)
from topout.records.cost import UNQUANTIZED_PARTS
from topout.records.record import stamp
from topout.verbs.cost_assumptions import (
    above_ceilings,
    assumptions_of,
    assumptions_of_split,
    conventions_of_counts,
    left_out_of,
)
from topout.verbs.cost_machines import Candidate, candidates
from topout.verbs.cost_request import CostRequest, refuse_for_own_code, refuse_inputs
from topout.verbs.costed_model import costed_model

NO_MACHINE = (
    "this machine was not measured yet: `--on here` measures it (about two minutes), "
    "`--on a100-80gb` and others need no measuring"
)


def report_cost(request: CostRequest, progress: Notify | None = None) -> CostReport:
    """The cost of a model, op by op, with times on the machines that were asked for.

    Raises UnknownNameError for a model or machine, InputError for sizes out of range or a precision
    that is not counted, UnsupportedError for an architecture that is not read, RecordError for a
    bad machine file.
    """
    architecture, precision, counting = _find(request)
    plan = _plan(request, architecture, precision, counting)
    phases(plan)  # sizes out of range are refused before a machine is measured
    machines = candidates(request.on, architecture, request.mode, request.threads, progress)
    if request.dtype is None:
        plan = _timed_plan(request, plan, machines)
    found = phases(plan)
    training = training_rows(plan)
    costs = [_machine_cost(plan, found, training, each) for each in machines]
    if not costs:
        costs = [_counted_only(plan, found)]
    report = CostReport(
        **stamp(),
        model=costed_model(architecture),
        workload=plan.workload,
        machines=costs,
        memory=cost_memory(
            architecture,
            weight_bytes=sum(weights_by_part(plan).values()),
            batch_size=plan.workload.batch_size,
            context_len=plan.workload.context_len,
            kv_dtype_bytes=found[0].load.sizes.kv,
            training=training,
        ),
        conventions=[*CONVENTIONS, *conventions_of_counts(architecture)],
        not_counted=[
            *architecture.not_counted,
            *([stored.note] if (stored := architecture.stored_weights) and stored.note else []),
            *left_out_of(architecture),
        ],
    )
    return msgspec.structs.replace(report, findings=findings_of(report))


def _find(request: CostRequest) -> tuple[Architecture, Precision, Counting | None]:
    """The model by formulas, or by runs of its module where none describe it."""
    if names_own_code(request.model):
        return _count_own(request)
    refuse_inputs(request.input)
    found = find_config(request.model)
    try:
        architecture = architecture_of(found, image_size=request.image_size)
    except UnsupportedError as unread:
        return _count_module(request, found, unread)
    return architecture, _precision(request, found), None


def _count_own(request: CostRequest) -> tuple[Architecture, Precision, Counting]:
    """The user's own module; raises what `counted_own` raises, and for options of other models."""
    names = ("batch_size", "prompt_len", "context_len", "image_size", "quantize", "kv_dtype")
    refuse_for_own_code(request, *names)
    require("climb", f"{request.model} is counted by running it, which")
    from topout.verbs.counted_own import counted_own

    return counted_own(request.model, request.input, request.dtype)


def _count_module(
    request: CostRequest, found: FoundConfig, unread: UnsupportedError
) -> tuple[Architecture, Precision, Counting]:
    """Raises MissingExtraError without PyTorch, UnsupportedError for what is not built or run."""
    if request.image_size is not None:
        raise unread
    model_type = found.config_json.get("model_type")
    require("climb", f"{found.name} ({model_type}) is counted by running its module, which")
    from topout.verbs.counted_model import counted_model

    precision = _precision(request, found)
    architecture, counting = counted_model(found, precision.dtype)
    return architecture, precision, counting


def _precision(request: CostRequest, found: FoundConfig) -> Precision:
    return precision_of(found.name, found.published_dtype, request.dtype)


def _plan(
    request: CostRequest,
    architecture: Architecture,
    precision: Precision,
    counting: Counting | None,
) -> Plan:
    return Plan(
        counting=counting,
        architecture=architecture,
        workload=request.workload(architecture, precision),
        recompute=request.recompute,
        split_head=request.split_head,
    )


def _timed_plan(request: CostRequest, plan: Plan, machines: list[Candidate]) -> Plan:
    """The plan; in fp32 where that alone can be timed on the machines: fp16 on measured CPUs."""
    if not machines or _is_timed(plan, machines):
        return plan
    dtype = plan.workload.dtype
    those = "these machines have" if len(machines) > 1 else "this machine has"
    origin = f"published in {dtype}, of which {those} no figures"
    in_fp32 = _plan(request, plan.architecture, Precision("fp32", origin), plan.counting)
    return in_fp32 if _is_timed(in_fp32, machines) else plan


def _is_timed(plan: Plan, machines: list[Candidate]) -> bool:
    """Whether any of the machines has the figures that the phases are timed by."""
    loads = [phase.load for phase in phases(plan)]
    return any(each.timer.missing(load) is None for each in machines for load in loads)


def _machine_cost(
    plan: Plan, found: list[Phase], training: list[TrainingMemory], candidate: Candidate
) -> MachineCost:
    hardware, timer = candidate.hardware, candidate.timer
    ops: list[OpCost] = []
    costs: dict[str, PhaseCost] = {}
    reasons: dict[str, str] = {}
    for phase in found:
        timed, of_phase = time_phase(phase, timer)
        cost = with_utilization(timed, phase, hardware)
        costs[phase.name] = cost
        if cost.reason is not None:
            reasons[phase.name] = cost.reason
        ops += of_phase
    return MachineCost(
        name=hardware.name,
        hardware=hardware,
        mode=plan.workload.mode,
        ops=ops,
        prefill=costs.get("prefill"),
        decode=costs.get("decode"),
        forward=costs.get("forward"),
        training=costs.get("training"),
        decode_tokens_per_s=costs["decode"].tokens_per_s if "decode" in costs else None,
        interval=_rate_interval(plan, costs),
        cache_saving=kv_cache_saving(plan, timer),
        fit=fit_of(plan, hardware, training),
        assumptions=[
            *assumptions_of(plan, candidate),
            *assumptions_of_split(plan, costs.get("training")),
            *above_ceilings(hardware, costs.values()),
        ],
        reasons=reasons,
    )


def _counted_only(plan: Plan, found: list[Phase]) -> MachineCost:
    """The counts, where there is no machine to predict for."""
    counts = [count_phase(phase, NO_MACHINE) for phase in found]
    costs = {cost.phase: cost for cost, _ in counts}
    return MachineCost(
        name="no machine",
        hardware=None,
        mode=plan.workload.mode,
        ops=[op for _, ops in counts for op in ops],
        prefill=costs.get("prefill"),
        decode=costs.get("decode"),
        forward=costs.get("forward"),
        training=costs.get("training"),
        cache_saving=kv_cache_saving(plan, None),
        reasons={"time": NO_MACHINE},
    )


def _rate_interval(plan: Plan, costs: dict[str, PhaseCost]) -> Interval | None:
    """Decoded tokens per second, or sequences and images of a forward pass, at both ends."""
    cost = costs.get("decode") or costs.get("forward")
    if cost is None or cost.interval_s is None:
        return None
    rows = plan.workload.batch_size
    return Interval(low=rows / cost.interval_s.high, high=rows / cost.interval_s.low)


def weights_by_part(plan: Plan) -> dict[str, int]:
    """Bytes of the whole model's weights, by part."""
    workload = plan.workload
    size, quantized = ELEMENT_BYTES[workload.dtype], ELEMENT_BYTES[workload.weight_dtype]
    whole = (*UNQUANTIZED_PARTS, *workload.unquantized_parts)
    return {
        part: round(count * (size if part in whole else quantized))
        for part, count in parameters_by_part(plan.architecture).items()
    }


def training_rows(plan: Plan) -> list[TrainingMemory]:
    """The memory of a training step on one device, by recomputation and ZeRO stage."""
    workload = plan.workload
    pipeline = pipeline_of(workload, trains=True)
    step = TrainingStep(
        batch_size=workload.batch_size // pipeline.micro_batches,
        sequence_len=sequence_len(plan),
        dtype=cast(TrainingDtype, workload.dtype),  # checked by the request
        tensor_parallel=workload.tensor_parallel,
        sequence_parallel=workload.sequence_parallel,
        fused_attention=workload.attention == "fused",
        dropout=workload.dropout,
    )
    training = TrainingPlan(
        recipe="pure" if workload.dtype == "fp32" else "mixed",
        data_parallel=workload.data_parallel,
        pipeline_parallel=pipeline.stages,
        micro_batches=pipeline.micro_batches,
        interleave=pipeline.chunks,
    )
    if plan.counting is not None:
        backward = plan.counting.backward(step.batch_size, step.sequence_len)
        return counted_training_table(plan.architecture, backward, step, training)
    return training_table(plan.architecture, step, training)


def fit_of(plan: Plan, hardware: Hardware, training: list[TrainingMemory]) -> MachineFit:
    """What fits into this machine; `training` are the rows of `training_rows`."""
    workload = plan.workload
    chosen = [row for row in training if row.recompute == plan.recompute]
    load = InferenceLoad(
        batch_size=workload.batch_size,
        prompt_len=sequence_len(plan),
        context_len=max(workload.context_len, workload.prompt_len),
        dtype_bytes=ELEMENT_BYTES[workload.dtype],
        kv_dtype_bytes=ELEMENT_BYTES[workload.kv_dtype],
    )
    return machine_fit(
        plan.architecture,
        hardware.memory_bytes,
        load,
        weight_bytes_by_part=weights_by_part(plan),
        device=hardware.device,
        tensor_parallel=workload.tensor_parallel,
        pipeline_parallel=workload.pipeline_parallel,
        training_bytes=min((row.total_bytes for row in chosen), default=None),
    )
