"""What `topout cost` answers: what a model needs, and how long it should take on each machine."""

from typing import Literal

from topout.records.machine import Hardware
from topout.records.record import SCHEMA_VERSION, Interval, Record

PhaseName = Literal["prefill", "decode", "forward", "training"]
# "bubble": a device of a pipeline waits for the other stages.
CostBound = Literal["memory", "compute", "overhead", "communication", "bubble"]

# What no quantization takes: tables, norms and routers; and convolutions, which none here does.
UNQUANTIZED_PARTS = ("embedding", "norms", "router", "convolution")


class OpCost(Record, frozen=True, kw_only=True):
    """One op of one phase, all its runs in the phase together; times on one machine."""

    name: str  # "qkv", "attention", "mlp_up"
    part: str  # "embedding", "attention", "mlp", "norms", "head", "convolution", "communication"
    phase: PhaseName
    kind: str  # "linear", "attention", "elementwise", "embedding", "convolution", …
    count: int  # how often it runs in the phase
    shape: str  # "512×768 · 768×2304", in words where it is no product
    flops: float
    weight_bytes: float
    activation_bytes: float
    kv_bytes: float
    bytes: float  # the three together
    arithmetic_intensity: float | None = None  # FLOP/byte; None where no byte is moved
    bound: CostBound | None = None  # None: this machine's figures do not suffice, see reasons
    time_s: float | None = None
    compute_s: float | None = None
    memory_s: float | None = None
    overhead_s: float | None = None
    share: float | None = None  # of the phase's time


class PhaseCost(Record, frozen=True, kw_only=True):
    """One phase: its sums, and its time on one machine.

    `flops` are those of matrix products, attention and convolutions; `other_flops` those of
    norms, activations and sums.
    """

    phase: PhaseName
    tokens: int  # that come out of it (decode: the batch) or go into it
    flops: float
    other_flops: float
    bytes: float
    arithmetic_intensity: float
    time_s: float | None = None
    tpot_s: float | None = None  # decode: time per output token of a sequence, = time_s
    compute_s: float | None = None
    memory_s: float | None = None
    overhead_s: float | None = None
    communication_s: float | None = None  # that is waited for
    hidden_s: float | None = None  # communication beside arithmetic, not part of time_s
    bubble_s: float | None = None  # waiting for the other stages of a pipeline
    micro_batches: int = 1  # that the batch is divided into
    bound: CostBound | None = None
    interval_s: Interval | None = None
    tokens_per_s: float | None = None
    mfu_of_spec_peak: float | None = None
    mbu_of_spec_peak: float | None = None
    mfu_of_ceiling: float | None = None  # of what was measured, here or elsewhere
    mbu_of_ceiling: float | None = None
    reason: str | None = None  # why there is no time


class CacheSaving(Record, frozen=True, kw_only=True):
    """One decoded token with and without a KV cache, at one context."""

    context_len: int
    cached_flops: float
    cached_bytes: float
    uncached_flops: float
    uncached_bytes: float
    kv_projection_flops: float  # of the new token's keys and values, all layers
    kv_projection_bytes: float
    cached_time_s: float | None = None
    uncached_time_s: float | None = None


class MachineFit(Record, frozen=True, kw_only=True):
    """What fits into a machine's memory; None where even one does not."""

    memory_bytes: int
    weight_bytes: int  # of one device
    fits: bool  # the workload asked for
    largest_batch: int | None = None  # at the context asked for
    largest_context: int | None = None  # at the batch asked for; not above the model's own limit
    training_bytes: int | None = None  # of one device, as asked, with the best ZeRO stage
    training_fits: bool | None = None
    devices_needed: int | None = None  # the least tensor-parallel size that fits; None: none found


class MachineCost(Record, frozen=True, kw_only=True):
    """The cost on one machine, op by op and phase by phase."""

    name: str
    hardware: Hardware | None = None  # None: nothing was measured or asked for, counts alone
    mode: str  # execution mode that the overheads are those of: "compiled", "eager"
    ops: list[OpCost] = []
    prefill: PhaseCost | None = None
    decode: PhaseCost | None = None
    forward: PhaseCost | None = None  # of models that do not generate
    training: PhaseCost | None = None
    decode_tokens_per_s: float | None = None  # of the whole batch
    interval: Interval | None = None  # of decode_tokens_per_s, or of forward's samples per second
    cache_saving: CacheSaving | None = None
    fit: MachineFit | None = None
    assumptions: list[str] = []
    reasons: dict[str, str] = {}


class CostedModel(Record, frozen=True, kw_only=True):
    """The model whose cost this is."""

    name: str
    architecture: str  # Hugging Face model_type
    kind: str  # "decoder", "encoder", "encoder_decoder", "image", "module"
    parameters: int
    active_parameters: int  # that a token passes through; fewer with a mixture of experts
    parameters_by_part: dict[str, int]
    layers: int  # of an encoder and its decoder both
    encoder_layers: int | None = None  # of these, where there are both
    width: int
    heads: int | None = None
    kv_heads: int | None = None
    vocab_size: int | None = None
    context_len: int | None = None
    experts: int | None = None  # of a layer; None: no mixture
    experts_per_token: int | None = None
    published_dtype: str | None = None  # of the checkpoint; None: stated nowhere
    published_weights: str | None = None  # the format that it is quantized in; None: it is not
    organisation: str | None = None  # that made it, of models that have a name here
    access: Literal["open", "gated", "closed"] | None = None  # who may have its weights
    released: str | None = None  # "2024-07"


class CostWorkload(Record, frozen=True, kw_only=True):
    """What is asked of the model."""

    prompt_len: int  # tokens of the prompt, of a sequence, or of one side in training
    context_len: int  # keys that a decoded token sees
    batch_size: int
    dtype: str  # of activations and, unless quantized, of weights
    dtype_origin: str = ""  # why it is that one: "as published", "as asked"
    weight_dtype: str
    weight_origin: str = ""  # why it is that one, where it is not `dtype`
    unquantized_parts: list[str] = []  # beside UNQUANTIZED_PARTS, whose weights are of `dtype`
    kv_dtype: str
    tensor_parallel: int = 1
    data_parallel: int = 1
    pipeline_parallel: int = 1
    micro_batches: int | None = None  # of training, as asked; each phase says its own
    interleave: int = 1  # chunks of the layers on each device of a pipeline, in training
    sequence_parallel: bool = False
    attention: Literal["fused", "plain"] = "fused"  # of a training step; plain ones keep scores
    dropout: bool = False  # in a training step
    mode: str = "compiled"


class TrainingMemory(Record, frozen=True, kw_only=True):
    """Bytes of one device in a training step, for one choice of recomputation and ZeRO stage."""

    recompute: Literal["none", "selective", "full"]
    zero_stage: int
    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    errors_bytes: int = 0  # gradients of activations, at the fullest moment
    total_bytes: int


class CostMemory(Record, frozen=True, kw_only=True):
    """The memory that the model needs, whatever the machine."""

    weight_bytes: int
    kv_bytes_per_token: int | None = None
    kv_cache_bytes: int | None = None  # at the batch and context asked for
    kv_table: dict[str, dict[str, int]] = {}  # batch → context → bytes
    training: list[TrainingMemory] = []


class CostReport(Record, frozen=True, kw_only=True, tag_field="kind", tag="cost"):
    """What `topout cost` writes."""

    schema_version: int = SCHEMA_VERSION
    topout_version: str
    created_at: str
    model: CostedModel
    workload: CostWorkload
    machines: list[MachineCost]
    memory: CostMemory
    conventions: list[str] = []  # how FLOPs and bytes are counted
    not_counted: list[str] = []
    findings: list[str] = []
