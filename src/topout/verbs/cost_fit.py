"""What of a plan fits into a machine's memory: weights and cache, and a training step."""

from typing import cast

from topout.cost.memory import InferenceLoad, machine_fit
from topout.cost.ops import ELEMENT_BYTES
from topout.cost.phases import Plan, sequence_len
from topout.cost.training import TrainingDtype, TrainingPlan, TrainingStep
from topout.cost.training_memory import training_table
from topout.models.architecture import parameters_by_part
from topout.records import Hardware, MachineFit, TrainingMemory

# Quantizing is for the matrices of linear layers; tables, norms and routers keep their type.
_QUANTIZED_PARTS = ("attention", "cross_attention", "mlp", "head")


def weights_by_part(plan: Plan) -> dict[str, int]:
    """Bytes of the whole model's weights, by part."""
    workload = plan.workload
    size, quantized = ELEMENT_BYTES[workload.dtype], ELEMENT_BYTES[workload.weight_dtype]
    return {
        part: round(count * (quantized if part in _QUANTIZED_PARTS else size))
        for part, count in parameters_by_part(plan.architecture).items()
    }


def training_rows(plan: Plan) -> list[TrainingMemory]:
    """The memory of a training step on one device, by recomputation and ZeRO stage."""
    workload = plan.workload
    step = TrainingStep(
        batch_size=workload.batch_size,
        sequence_len=sequence_len(plan),
        dtype=cast(TrainingDtype, workload.dtype),  # checked by the request
        tensor_parallel=workload.tensor_parallel,
    )
    training = TrainingPlan(
        recipe="pure" if workload.dtype == "fp32" else "mixed",
        data_parallel=workload.data_parallel,
        pipeline_parallel=workload.pipeline_parallel,
    )
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
        training_bytes=min((row.total_bytes for row in chosen), default=None),
    )
