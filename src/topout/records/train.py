"""A training run: how a step spends its time, alone and over ranks."""

from typing import Literal

from topout.records.cost import TrainingMemory
from topout.records.machine import Machine
from topout.records.record import SCHEMA_VERSION, Doubt, Estimate, Record, WeightsOrigin
from topout.records.trace import Communication

TrainTask = Literal["classify", "lm"]
TrainDtype = Literal["fp32", "bf16"]
StepPhase = Literal["warmup", "timed", "profiled"]
TrainStatus = Literal["done", "failed", "interrupted", "skipped"]


class TrainedModel(Record, frozen=True, kw_only=True):
    """The model that was trained."""

    name: str
    architecture: str  # Hugging Face model_type
    parameters: int | None = None  # that the optimizer updates; None until a rank has counted them
    weights: WeightsOrigin  # before training
    fingerprint: str = ""


class TrainData(Record, frozen=True, kw_only=True):
    """What it was trained on."""

    description: str
    samples: int  # that the steps draw from
    labels: list[str] = []  # of a classifier, in the order of their numbers
    padding_share: float = 0.0  # of all positions: they are computed and say nothing
    cut_samples: int = 0  # texts longer than the sequence, of which the end was left out
    skipped_rows: list[str] = []  # rows that could not be read, by line


class TrainWorkload(Record, frozen=True, kw_only=True):
    """What every case has in common: the same work per sample, whatever the ranks."""

    task: TrainTask
    sequence_len: int
    batch_size: int  # samples of one rank's micro-batch
    accumulation: int  # micro-batches between two updates
    dtype: TrainDtype
    dtype_origin: str = ""  # why it is that one: "as published", "as asked"
    learning_rate: float
    weight_decay: float
    seed: int
    steps: int
    warmup_steps: int
    profiled_steps: int
    threads_per_rank: int
    device: str  # "cpu" or "cuda"
    optimizer: str = "AdamW"


class TrainStep(Record, frozen=True, kw_only=True):
    """One update of the weights as one rank saw it; the parts leave `total_s` a small rest."""

    number: int  # from 0
    phase: StepPhase
    total_s: float
    data_s: float  # waiting for the next samples, copied to the device
    forward_s: float
    backward_s: float  # with the sum of gradients over the ranks, which runs beside it
    optimizer_s: float
    loss: float  # mean over the step's micro-batches of this rank


class RankTime(Record, frozen=True, kw_only=True):
    """The timed steps of one rank: means, so that the parts sum to the whole.

    `step_s` = data_s + forward_s + backward_s + optimizer_s + other_s.
    """

    rank: int
    host: str
    device: str  # "cpu", or the name of a GPU
    step_s: float
    data_s: float
    forward_s: float
    backward_s: float
    optimizer_s: float
    other_s: float
    # Backward with the sum over the ranks, less backward without it, pass by pass; at least 0.
    exposed_communication_s: float | None = None
    processor_utilization: float | None = None  # CPU time over (time × threads), 0 to 1
    device_utilization: float | None = None  # of the GPU, in the profiled steps
    memory_before_bytes: int | None = None  # of the process without the network
    unprofiled_peak_bytes: int | None = None  # of the process, until the profiler began
    peak_memory_bytes: int  # of the process
    peak_device_bytes: int | None = None  # allocated on the GPU
    trace: str | None = None  # file, below the run's folder
    reasons: dict[str, str] = {}


class TrainCase(Record, frozen=True, kw_only=True):
    """The training with so many ranks; figures are of the timed steps, which are not profiled."""

    ranks: int
    backend: str | None = None  # "nccl", "gloo"; None: one rank has nobody to talk to
    status: TrainStatus
    reason: str | None = None  # of any status but done
    log: str | None = None  # of the rank that ended the case, below the run's folder
    times: list[RankTime] = []
    steps: list[list[TrainStep]] = []  # by rank, all phases, those of a failed case too
    wall_s: float | None = None  # of the timed steps
    step_s: Estimate | None = None  # of the slowest rank, step by step
    time_per_batch_s: Estimate | None = None  # of one micro-batch of every rank
    samples_per_s: Estimate | None = None  # over all ranks
    tokens_per_s: Estimate | None = None  # positions, padding included
    flops_per_sample: float | None = None
    flops_per_s: float | None = None  # over all ranks
    mfu_of_ceiling: float | None = None
    loss: list[float] = []  # mean over the ranks, step by step
    backward_without_sum_s: list[float] = []  # passes of which the gradients were dropped, rank 0
    peak_memory_bytes: int | None = None  # of the ranks together
    predicted_memory: TrainingMemory | None = None  # of a rank, by the cost model
    weights_agree: bool | None = None  # whether all ranks ended with the same weights, bit by bit
    parameters: int | None = None  # that the optimizer of a rank updates
    gradient_bytes: int | None = None  # that every rank puts into the sum of a step
    collective_bytes_per_step: float | None = None  # of that, what the traces hold
    communication: Communication | None = None  # from the traces
    trace_folder: str | None = None  # below the run's folder
    speedup: Estimate | None = None  # of samples/s over the case with one rank
    parallel_efficiency: float | None = None  # speedup / ranks
    reasons: dict[str, str] = {}


class TrainReport(Record, frozen=True, kw_only=True, tag_field="kind", tag="train"):
    """What `topout train` writes."""

    schema_version: int = SCHEMA_VERSION
    topout_version: str
    created_at: str  # ISO 8601, UTC
    elapsed_s: float
    machine: Machine
    model: TrainedModel
    data: TrainData
    workload: TrainWorkload
    cases: list[TrainCase] = []
    findings: list[str] = []
    doubts: list[Doubt] = []
    reasons: dict[str, str] = {}
