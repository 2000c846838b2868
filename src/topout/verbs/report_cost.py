"""`topout cost`: what a model needs, how long it takes on each machine, and whether it fits."""

from collections.abc import Iterable
from typing import cast

import msgspec

from topout import units
from topout.cost.counted import Counting, counted_training_table
from topout.cost.estimate import (
    count_phase,
    findings_of,
    kv_cache_saving,
    time_phase,
    with_utilization,
)
from topout.cost.measured_times import MeasuredTimes
from topout.cost.memory import InferenceLoad, cost_memory, machine_fit
from topout.cost.ops import CONVENTIONS, ELEMENT_BYTES
from topout.cost.phases import Phase, Plan, phases, sequence_len
from topout.cost.pipeline import pipeline_of
from topout.cost.training import TrainingDtype, TrainingPlan, TrainingStep
from topout.cost.training_memory import training_table
from topout.errors import InputError, UnsupportedError
from topout.extras import require
from topout.import_path import names_own_code
from topout.machine.kept import kept_doubts
from topout.models.architecture import (
    Architecture,
    Block,
    Counted,
    active_parameters,
    experts_of,
    parameters_by_part,
    total_parameters,
)
from topout.models.architectures.read import (
    FoundConfig,
    architecture_of,
    find_architecture,
    find_config,
)
from topout.models.known import known_config_json
from topout.models.known_counted import COUNTED
from topout.models.known_facts import facts_of
from topout.models.precision import Precision, precision_of, stated_dtype
from topout.models.stored_weights import stored_weights
from topout.progress import Notify
from topout.records import (
    CostedModel,
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
from topout.roofline import is_above, share_of, stand_in_doubts
from topout.verbs.cost_machines import Candidate, candidates
from topout.verbs.cost_request import CostRequest, refuse_for_own_code

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
        conventions=[*CONVENTIONS, *_conventions_of_counts(architecture)],
        not_counted=[
            *architecture.not_counted,
            *([stored.note] if (stored := architecture.stored_weights) and stored.note else []),
            *_left_out(architecture),
        ],
    )
    return msgspec.structs.replace(report, findings=findings_of(report))


def _find(request: CostRequest) -> tuple[Architecture, Precision, Counting | None]:
    """The model by formulas, or by runs of its module where none describe it."""
    if names_own_code(request.model):
        return _count_own(request)
    if request.input:
        raise InputError(
            "--input is for a module of your own.", "Name it as FILE.py:Class or module:function."
        )
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


def costed_model(architecture: Architecture) -> CostedModel:
    """The model as results name it."""
    first = architecture.blocks[0] if architecture.blocks else None
    stored = architecture.stored_weights
    counted = architecture.counted
    experts = experts_of(architecture)
    return CostedModel(
        name=architecture.name,
        architecture=architecture.model_type,
        kind=architecture.kind,
        parameters=total_parameters(architecture),
        active_parameters=active_parameters(architecture),
        parameters_by_part=parameters_by_part(architecture),
        layers=counted.layers
        if counted is not None
        else sum(block.count for block in architecture.blocks)
        or sum(each.count for each in architecture.convolutions),
        width=architecture.width,
        heads=_heads(first, counted, "heads"),
        kv_heads=_heads(first, counted, "kv_heads"),
        vocab_size=architecture.vocab_size,
        context_len=architecture.context_len,
        experts=experts[0] if experts else None,
        experts_per_token=experts[1] if experts else None,
        encoder_layers=_encoder_layers(architecture),
        published_dtype=architecture.published_dtype,
        published_weights=stored and (stored.dtype or stored.method),
    )


def named_model(name: str) -> CostedModel:
    """A model that has a name here, with who made it and when; nothing is built."""
    facts = facts_of(name)
    if name in COUNTED:
        config_json = known_config_json(name)
        stored = stored_weights(config_json, name)
        model = msgspec.structs.replace(
            COUNTED[name],
            name=name,
            architecture=config_json["model_type"],
            published_dtype=stated_dtype(config_json, name),
            published_weights=stored and stored.dtype,
        )
    else:
        model = costed_model(find_architecture(name))
    if facts is None:
        return model
    return msgspec.structs.replace(
        model,
        organisation=facts.organisation,
        access=facts.access,
        released=facts.released,
    )


def _encoder_layers(architecture: Architecture) -> int | None:
    """Of an encoder-decoder: those that do not look back."""
    if architecture.counted is not None:
        return architecture.counted.encoder_layers
    if architecture.kind != "encoder_decoder":
        return None
    return sum(block.count for block in architecture.blocks if not block.attention.causal)


def _heads(first: Block | None, counted: Counted | None, which: str) -> int | None:
    """Of the first block, or as the config of a counted module states them."""
    holder = counted if counted is not None else first.attention if first else None
    heads: int | None = getattr(holder, which, None)
    return heads


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
            *_assumptions(plan, candidate),
            *_assumptions_of_split(plan, costs.get("training")),
            *_above_ceilings(hardware, costs.values()),
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


def _above_ceilings(hardware: Hardware, costs: Iterable[PhaseCost]) -> list[str]:
    """The phases that are to be faster than a measured ceiling, with both figures, and why."""
    sentences = []
    for cost in costs:
        if cost.time_s is None:
            continue
        of = f"{hardware.name}: {cost.phase}"
        if cost.mbu_of_ceiling is not None and is_above(cost.mbu_of_ceiling):
            rate = cost.bytes / cost.time_s
            sentences.append(
                f"{of} is to move {units.bytes_per_s(rate)}, above the "
                f"{units.bytes_per_s(rate / cost.mbu_of_ceiling)} of {hardware.levels[-1].name}: "
                "its data are timed in the nearer level that holds them."
            )
        if cost.mfu_of_ceiling is not None and is_above(cost.mfu_of_ceiling):
            sentences.append(
                f"{of} is to compute at {share_of(cost.mfu_of_ceiling)} of the measured ceiling, "
                "which was measured too low, as were the rates too high: measure them again."
            )
    return sentences


def _assumptions(plan: Plan, candidate: Candidate) -> list[str]:
    workload, name = plan.workload, candidate.hardware.name
    sentences = []
    calibrated = (
        f"overheads of {workload.mode} runs and the speed of quantized products as calibrated on "
        "published runs (docs/cost.md)."
    )
    if candidate.hardware.ceilings is None:
        sentences.append(f"{name}: figures from the catalog; {calibrated}")
    elif not candidate.hardware.rates:
        sentences.append(f"{name}: ceilings measured there, PyTorch's rates not; {calibrated}")
    else:
        sentences.append(f"{name}: ceilings and PyTorch's rates measured there.")
        if isinstance(candidate.timer, MeasuredTimes):
            ceilings, rates = candidate.hardware.ceilings, candidate.timer.rates
            doubts = stand_in_doubts(ceilings, candidate.timer.threads)
            doubts += kept_doubts(ceilings) + kept_doubts(rates)
            sentences += [doubt.sentence for doubt in doubts]
    if workload.weight_dtype != workload.dtype:
        whole = ", ".join(workload.unquantized_parts)
        but = f", but for {whole}," if whole else ""
        sentences.append(
            f"Linear layers{but} read {workload.weight_dtype} weights and compute in "
            f"{workload.dtype}."
        )
    return sentences


def _assumptions_of_split(plan: Plan, training: PhaseCost | None) -> list[str]:
    """How the model is taken to be laid over devices."""
    workload = plan.workload
    tensor, stages = workload.tensor_parallel, workload.pipeline_parallel
    sentences = []
    if tensor > 1:
        whole = "" if workload.sequence_parallel else "; norms and residuals are computed on each"
        sentences.append(f"Figures are those of one of {tensor} devices{whole}.")
    if workload.sequence_parallel:
        sentences.append(
            "In training each sum over them is a reduce-scatter and an all-gather; the inputs that "
            "backward gathers again go beside its products."
        )
    if stages > 1:
        sentences.append(
            f"Figures are those of the last of {stages} stages, which has the heads; "
            "micro-batches go forward and backward in turn (1F1B), and messages between stages are "
            "waited for."
        )
    if workload.data_parallel > 1:
        sentences.append(_gradient_sum(training))
    return sentences


def _gradient_sum(training: PhaseCost | None) -> str:
    rule = (
        "Gradients are summed over the replicas beside the backward pass of the last micro-batch, "
        "at the slow end of the interval after it; with ZeRO stage 3 the weights go round as well, "
        "which is not counted."
    )
    if training is None or not training.hidden_s:
        return rule
    return f"{rule} So {units.seconds(training.hidden_s)} of it are hidden."


def _conventions_of_counts(architecture: Architecture) -> list[str]:
    """How a model is counted that no formulas describe."""
    if architecture.counted is None:
        return []
    is_own = architecture.kind == "module"
    passes = "one pass" if is_own else "a prompt, and a token more with the cache that it leaves"
    made = "" if is_own else " as transformers builds it,"
    return [
        f"Counted by running {architecture.counted_as}{made} on shapes alone: {passes}.",
        "What runs between matrix products in one part of a layer is one kernel, which reads what "
        "was made outside of it and writes what is read later; so is a scan or a recurrence.",
        "Where latents are cached, a decoded token's query is multiplied into them, and they are "
        "read once for all heads.",
        "Each token goes to its experts at random: of E experts, k a token, T tokens read "
        "E·(1 − (1 − k/E)^T).",
    ]


def _left_out(architecture: Architecture) -> list[str]:
    generates = architecture.kind in ("decoder", "encoder_decoder")
    left_out = ["tokenizing", "copies between host and device"]
    if architecture.kind == "module":
        return left_out[1:]
    if architecture.kind == "image":
        left_out = ["decoding and resizing of images", "pooling", *left_out[1:]]
    return [*left_out, "sampling of the next token"] if generates else left_out


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
