"""The phases of a workload, as ops of one device: prefill, decode, a forward pass, training.

Of a pipeline it is the device of the slowest stage.
"""

from collections.abc import Callable

import msgspec

from topout.cost.counted import Counting, check_counted
from topout.cost.ops import Load, Op, product_flops, repeated
from topout.cost.parallel import along_sequence, tensor_parallel_ops, tensor_parallel_share
from topout.cost.passes import (
    encoder_ops,
    full_pass_ops,
    head_ops,
    kv_elements,
    pass_ops,
    source_projection_ops,
)
from topout.cost.pipeline import Pipeline, check_pipeline, hop, pipeline_of, slowest_and_others
from topout.cost.training import Recompute, backward_ops, update_ops
from topout.cost.transformer import ExtraTraffic
from topout.errors import InputError
from topout.models.architecture import WITHOUT_TOKENS, Architecture, total_parameters
from topout.records import CostWorkload, PhaseName
from topout.records.cost import UNQUANTIZED_PARTS

# Steps of a decoder that is fed by an encoder start from one token.
_START_TOKENS = 1


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One phase: its ops on one device in the order in which they run, and its load."""

    name: PhaseName
    ops: list[Op]
    load: Load
    tokens: int  # decode: that come out, of the batch; else that go in; images: images
    model_flops: float  # of products, without recomputation, as the mean of the stages has them
    pipeline: Pipeline = Pipeline()
    # What the device waits for: one micro-batch on its way through the other stages.
    fill: list[Op] = []
    is_steady: bool = False  # the next step follows at once: only what is not covered is waited for
    # Beside these of its own ops it sums gradients over the replicas.
    behind: list[Op] = []


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A model, what is asked of it, and how it is laid over devices."""

    architecture: Architecture
    workload: CostWorkload
    recompute: Recompute = "none"
    split_head: bool = True
    counting: Counting | None = None  # counts the passes, where no formulas describe the model

    @property
    def parameters(self) -> int:
        """Of the whole model."""
        return total_parameters(self.architecture)

    @property
    def share(self) -> Architecture:
        """One device's part of the model; of a pipeline, of its slowest stage."""
        stage, _ = slowest_and_others(self.architecture, self.workload.pipeline_parallel)
        return self.share_of(stage)

    def share_of(self, stage: Architecture) -> Architecture:
        """One tensor-parallel device's part of a stage."""
        return tensor_parallel_share(
            stage, self.workload.tensor_parallel, split_head=self.split_head
        )


def phases(plan: Plan) -> list[Phase]:
    """The phases that a model of this kind has; raises InputError for sizes out of range."""
    check_workload(plan)
    generates = plan.architecture.kind in ("decoder", "encoder_decoder")
    found = [prefill(plan), decode(plan)] if generates else [forward(plan)]
    return [*found, training(plan)]


def check_workload(plan: Plan) -> None:
    """Raise InputError for more tokens than the model can place, and splits that do not exist."""
    workload, architecture = plan.workload, plan.architecture
    check_counted(architecture, workload)
    check_pipeline(architecture, workload)
    if workload.sequence_parallel and workload.tensor_parallel == 1:
        raise InputError(
            "sequence parallelism divides what tensor parallelism leaves whole.",
            "Give --tp above 1 with --sequence-parallel.",
        )
    limit = architecture.context_len
    longest = max(workload.prompt_len, workload.context_len)
    if limit is not None and architecture.kind not in WITHOUT_TOKENS and longest > limit:
        raise InputError(
            f"{longest} tokens are more than {architecture.name} has positions for ({limit}).",
            f"Give --prompt-len and --context-len of at most {limit}.",
        )


def prefill(plan: Plan, prompt_len: int | None = None) -> Phase:
    """The prompt goes in, the first token comes out; the workload's prompt unless it is given."""
    length = prompt_len or plan.workload.prompt_len

    def ops_of(share: Architecture, batch: int) -> list[Op]:
        if plan.counting is not None:
            return plan.counting.prefill(batch, length)
        if share.kind != "encoder_decoder":
            return pass_ops(
                share, batch_size=batch, new_tokens=length, context_len=length, logits_rows=1
            )
        ops = encoder_ops(share, batch, length) + source_projection_ops(share, batch, length)
        return ops + pass_ops(
            share,
            batch_size=batch,
            new_tokens=_START_TOKENS,
            context_len=_START_TOKENS,
            logits_rows=1,
            source_len=length,
        )

    return _pass("prefill", plan, ops_of, tokens=length, rows=1)


def decode(plan: Plan, context_len: int | None = None) -> Phase:
    """One token of each sequence, which sees `context_len` keys, itself included."""
    workload = plan.workload
    context_len = context_len or workload.context_len

    def ops_of(share: Architecture, batch: int) -> list[Op]:
        source_len = workload.prompt_len if share.kind == "encoder_decoder" else 0
        if plan.counting is not None:
            return plan.counting.decode(batch, context_len, source_len)
        return pass_ops(
            share,
            batch_size=batch,
            new_tokens=1,
            context_len=context_len,
            logits_rows=1,
            source_len=source_len,
        )

    return msgspec.structs.replace(_pass("decode", plan, ops_of, tokens=1, rows=1), is_steady=True)


def forward(plan: Plan) -> Phase:
    """One pass of an encoder over `prompt_len` tokens, or of an image model over its images."""
    length = sequence_len(plan)

    def ops_of(share: Architecture, batch: int) -> list[Op]:
        if plan.counting is not None:
            return plan.counting.forward(batch, length)
        return encoder_ops(share, batch, length) + head_ops(share, batch, length)

    return _pass("forward", plan, ops_of, tokens=length, rows=length)


def _pass(
    name: PhaseName,
    plan: Plan,
    ops_of: Callable[[Architecture, int], list[Op]],
    *,
    tokens: int,
    rows: int,
) -> Phase:
    """A pass of `tokens` of each sequence, of which `rows` get logits, stage by stage."""
    workload = plan.workload
    pipeline = pipeline_of(workload, trains=False)
    batch = workload.batch_size // pipeline.micro_batches
    slowest, others = slowest_and_others(plan.architecture, pipeline.stages)

    def on_stage(stage: Architecture, hops: int) -> list[Op]:
        ops = ops_of(plan.share_of(stage), batch)
        ops = _with_collectives(plan, stage, ops, batch * tokens, batch * rows)
        return ops + hop(hops, batch * tokens, stage.width)

    each = on_stage(slowest, min(1, pipeline.stages - 1))
    fill = on_stage(others, pipeline.stages - 2) if others else []
    return Phase(
        name=name,
        ops=[repeated(op, pipeline.micro_batches) for op in each],
        load=_load(plan, name),
        tokens=_counted(plan, workload.batch_size, tokens),
        model_flops=pipeline.micro_batches * product_flops([*each, *fill]) / pipeline.stages,
        pipeline=pipeline,
        fill=fill,
    )


def training(plan: Plan) -> Phase:
    """One step: forward with logits of all positions, backward, the gradients' sum, AdamW."""
    workload, length = plan.workload, sequence_len(plan)
    pipeline = pipeline_of(workload, trains=True)
    batch = workload.batch_size // pipeline.micro_batches
    slowest, others = slowest_and_others(plan.architecture, pipeline.stages)
    parts = workload.tensor_parallel if workload.sequence_parallel else 1

    def on_stage(stage: Architecture, hops: int) -> tuple[list[Op], list[Op]]:
        if plan.counting is not None:
            ops = plan.counting.forward(batch, length)
        else:
            ops = full_pass_ops(plan.share_of(stage), batch, length, _traffic(plan))
        # The loss is taken of the part of the vocabulary that a device has.
        ops = _with_collectives(
            plan, stage, ops, batch * length, 0, sequence_parallel=workload.sequence_parallel
        )
        ops = along_sequence(ops, parts)
        ops += hop(hops * pipeline.chunks, batch * length, stage.width, divided_by=parts)
        fused = workload.attention == "fused"
        return ops, backward_ops(ops, recompute=plan.recompute, fused_attention=fused)

    ahead, back = on_stage(slowest, min(1, pipeline.stages - 1))
    fill_ahead, fill_back = on_stage(others, pipeline.stages - 2) if others else ([], [])
    updated = plan.parameters if others is None else total_parameters(slowest)
    update = update_ops(-(-updated // workload.tensor_parallel), replicas=workload.data_parallel)
    flops = 3 * product_flops([*ahead, *fill_ahead])
    return Phase(
        name="training",
        ops=[*(repeated(op, pipeline.micro_batches) for op in [*ahead, *back]), *update],
        load=_load(plan, "training"),
        tokens=_counted(plan, workload.batch_size, length) * workload.data_parallel,
        model_flops=pipeline.micro_batches * flops / pipeline.stages,
        pipeline=pipeline,
        fill=[*fill_ahead, *fill_back],
        behind=back,
    )


def _traffic(plan: Plan) -> ExtraTraffic:
    """Plain attention writes its scores; softmax reads and writes them, and so does dropout."""
    if plan.workload.attention == "fused":
        return ExtraTraffic()
    return ExtraTraffic(score_passes=6 if plan.workload.dropout else 4)


def _counted(plan: Plan, batch: int, tokens: int) -> int:
    """What a phase's rate counts: tokens, or images."""
    return batch if plan.architecture.kind in WITHOUT_TOKENS else batch * tokens


def sequence_len(plan: Plan) -> int:
    """Tokens of one sequence of a forward pass: an image has as many as its patches give."""
    architecture = plan.architecture
    if architecture.kind in WITHOUT_TOKENS:
        return architecture.context_len or 1
    return plan.workload.prompt_len


def _with_collectives(
    plan: Plan,
    stage: Architecture,
    ops: list[Op],
    tokens: int,
    rows: int,
    *,
    sequence_parallel: bool = False,
) -> list[Op]:
    """The ops with what joins tensor-parallel devices; logits of `rows` are gathered."""
    if plan.workload.tensor_parallel == 1:
        return ops
    gathered = rows if plan.split_head else 0
    return ops + tensor_parallel_ops(stage, tokens, gathered, sequence_parallel=sequence_parallel)


def _load(plan: Plan, phase: PhaseName) -> Load:
    """Data types and working set: all weights, and the whole KV cache or the optimizer's states."""
    workload = plan.workload
    # Training computes in `dtype`, on weights that are not quantized.
    weight_dtype = workload.dtype if phase == "training" else workload.weight_dtype
    load = Load(
        dtype=workload.dtype,
        weight_dtype=weight_dtype,
        kv_dtype=workload.kv_dtype,
        working_set_bytes=0.0,
        unquantized_parts=(*UNQUANTIZED_PARTS, *workload.unquantized_parts),
        phase=phase,
        tensor_parallel=workload.tensor_parallel,
        data_parallel=workload.data_parallel if phase == "training" else 1,
        pipeline_parallel=workload.pipeline_parallel,
    )
    cached = kv_elements(
        plan.share, workload.batch_size, max(workload.context_len, workload.prompt_len)
    )
    parameters = plan.parameters / (workload.tensor_parallel * workload.pipeline_parallel)
    weights = parameters * load.sizes.weight
    states = 16.0 * parameters if phase == "training" else 0.0
    return msgspec.structs.replace(
        load, working_set_bytes=weights + cached * load.sizes.kv + states
    )
