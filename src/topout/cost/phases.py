"""The phases of a workload, as ops of one device: prefill, decode, a forward pass, training."""

import msgspec

from topout.cost.ops import Load, Op
from topout.cost.parallel import tensor_parallel_ops, tensor_parallel_share
from topout.cost.passes import (
    encoder_ops,
    full_pass_ops,
    head_ops,
    kv_elements,
    pass_ops,
    source_projection_ops,
)
from topout.cost.training import Recompute, training_ops
from topout.errors import InputError
from topout.models.architecture import Architecture, total_parameters
from topout.records import CostWorkload, PhaseName

# Steps of a decoder that is fed by an encoder start from one token.
_START_TOKENS = 1


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One phase: its ops on one device in the order in which they run, and its load."""

    name: PhaseName
    ops: list[Op]
    load: Load
    tokens: int  # decode: that come out, of the batch; else that go in; images: images
    model_flops: float  # of the products of all devices, without recomputation


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A model, what is asked of it, and how it is laid over devices."""

    architecture: Architecture
    workload: CostWorkload
    recompute: Recompute = "none"
    split_head: bool = True

    @property
    def parameters(self) -> int:
        """Of the whole model."""
        return total_parameters(self.architecture)

    @property
    def share(self) -> Architecture:
        """One device's part of the model."""
        return tensor_parallel_share(
            self.architecture, self.workload.tensor_parallel, split_head=self.split_head
        )


def phases(plan: Plan) -> list[Phase]:
    """The phases that a model of this kind has; raises InputError for sizes out of range."""
    check_workload(plan)
    generates = plan.architecture.kind in ("decoder", "encoder_decoder")
    found = [prefill(plan), decode(plan)] if generates else [forward(plan)]
    return [*found, training(plan)]


def check_workload(plan: Plan) -> None:
    """Raise InputError for more tokens than the model can place."""
    workload, architecture = plan.workload, plan.architecture
    limit = architecture.context_len
    longest = max(workload.prompt_len, workload.context_len)
    if limit is not None and architecture.kind != "image" and longest > limit:
        raise InputError(
            f"{longest} tokens are more than {architecture.name} has positions for ({limit}).",
            f"Give --prompt-len and --context-len of at most {limit}.",
        )


def prefill(plan: Plan, prompt_len: int | None = None) -> Phase:
    """The prompt goes in, the first token comes out; the workload's prompt unless it is given."""
    workload, share = plan.workload, plan.share
    batch, prompt_len = workload.batch_size, prompt_len or workload.prompt_len
    if share.kind == "encoder_decoder":
        ops = encoder_ops(share, batch, prompt_len)
        ops += source_projection_ops(share, batch, prompt_len)
        ops += pass_ops(
            share,
            batch_size=batch,
            new_tokens=_START_TOKENS,
            context_len=_START_TOKENS,
            logits_rows=1,
            source_len=prompt_len,
        )
    else:
        ops = pass_ops(
            share,
            batch_size=batch,
            new_tokens=prompt_len,
            context_len=prompt_len,
            logits_rows=1,
        )
    return _phase("prefill", plan, ops, batch * prompt_len, batch)


def decode(plan: Plan, context_len: int | None = None) -> Phase:
    """One token of each sequence, which sees `context_len` keys, itself included."""
    workload, share = plan.workload, plan.share
    batch = workload.batch_size
    ops = pass_ops(
        share,
        batch_size=batch,
        new_tokens=1,
        context_len=context_len or workload.context_len,
        logits_rows=1,
        source_len=workload.prompt_len if share.kind == "encoder_decoder" else 0,
    )
    return _phase("decode", plan, ops, batch, batch)


def forward(plan: Plan) -> Phase:
    """One pass of an encoder over `prompt_len` tokens, or of an image model over its images."""
    workload, share = plan.workload, plan.share
    batch, length = workload.batch_size, sequence_len(plan)
    ops = encoder_ops(share, batch, length) + head_ops(share, batch, length)
    tokens = batch if share.kind == "image" else batch * length
    return _phase("forward", plan, ops, tokens, batch * length)


def training(plan: Plan) -> Phase:
    """One step: forward with logits of all positions, backward, the gradients' sum, AdamW."""
    workload, share = plan.workload, plan.share
    batch, length = workload.batch_size, sequence_len(plan)
    ops = full_pass_ops(share, batch, length)
    ops = _with_collectives(plan, ops, batch * length, batch * length)
    per_device = -(-plan.parameters // workload.tensor_parallel)
    step = training_ops(ops, per_device, recompute=plan.recompute, replicas=workload.data_parallel)
    tokens = batch if share.kind == "image" else batch * length
    return Phase(
        name="training",
        ops=step,
        load=_load(plan, "training"),
        tokens=tokens * workload.data_parallel,
        model_flops=3 * sum(op.flops for op in ops if op.is_product),
    )


def sequence_len(plan: Plan) -> int:
    """Tokens of one sequence of a forward pass: an image has as many as its patches give."""
    architecture = plan.architecture
    if architecture.kind == "image":
        return architecture.context_len or 1
    return plan.workload.prompt_len


def _phase(name: PhaseName, plan: Plan, ops: list[Op], tokens: int, rows: int) -> Phase:
    new_tokens = tokens if plan.architecture.kind != "image" else tokens * sequence_len(plan)
    return Phase(
        name=name,
        ops=_with_collectives(plan, ops, new_tokens, rows),
        load=_load(plan, name),
        tokens=tokens,
        model_flops=sum(op.flops for op in ops if op.is_product),
    )


def _with_collectives(plan: Plan, ops: list[Op], tokens: int, rows: int) -> list[Op]:
    if plan.workload.tensor_parallel == 1:
        return ops
    return ops + tensor_parallel_ops(plan.architecture, tokens, rows, split_head=plan.split_head)


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
        phase=phase,
        tensor_parallel=workload.tensor_parallel,
        data_parallel=workload.data_parallel if phase == "training" else 1,
    )
    cached = kv_elements(
        plan.share, workload.batch_size, max(workload.context_len, workload.prompt_len)
    )
    weights = plan.parameters / workload.tensor_parallel * load.sizes.weight
    states = 16.0 * plan.parameters / workload.tensor_parallel if phase == "training" else 0.0
    return msgspec.structs.replace(
        load, working_set_bytes=weights + cached * load.sizes.kv + states
    )
