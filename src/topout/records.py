"""The frozen records that every part of the program passes on, and their versioned JSON.

SI units inside, the unit in the field's name; ratios are 0 to 1. A figure that is absent is
`None`, and the reason stands in the record's `reasons` under the field's name. Raw samples are
kept; whatever is derived from them can be derived again.
"""

import math
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from topout.errors import OutputError, RecordError

SCHEMA_VERSION = 1

Dtype = Literal["fp32", "bf16", "fp16", "int8"]
Bound = Literal["memory", "compute", "overhead"]
OutputClass = Literal["exact", "near", "sampled"]
Status = Literal["kept", "rejected", "skipped", "failed"]
WeightsOrigin = Literal["trained", "random"]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all records: immutable, slotted, strict about the fields that it decodes."""


# --- the machine ------------------------------------------------------------------------------


class Cache(Record, frozen=True, kw_only=True):
    """One level of the cache hierarchy as one CPU sees it."""

    name: str  # "L1d", "L1i", "L2", "L3"
    size_bytes: int  # of one instance
    line_bytes: int | None = None
    shared_by_cpus: int | None = None  # logical CPUs that share one instance
    instances: int | None = None


class Gpu(Record, frozen=True, kw_only=True):
    """One accelerator."""

    name: str
    memory_bytes: int
    driver: str | None = None
    compute_capability: str | None = None
    clock_max_hz: float | None = None


class Compiler(Record, frozen=True, kw_only=True):
    """The C++ compiler that native parts are built with."""

    path: str
    version: str


class TorchBuild(Record, frozen=True, kw_only=True):
    """The installed PyTorch."""

    version: str
    cpu_capability: str | None = None
    blas: str | None = None
    cuda: str | None = None


class Machine(Record, frozen=True, kw_only=True):
    """What this machine is; `host_key` changes when anything changes that a ceiling depends on."""

    host_key: str
    hostname: str
    os: str
    kernel: str
    architecture: str  # "x86_64", "aarch64"
    cpu_model: str
    cpu_vendor: str | None = None
    sockets: int | None = None
    physical_cores: int | None = None
    logical_cpus: int
    threads_per_core: int | None = None
    usable_cpus: int  # after affinity mask and container quota
    numa_nodes: int | None = None
    caches: list[Cache] = []
    vector_isa: list[str] = []  # e.g. ["avx2", "fma", "avx512f", "avx512_vnni"], weakest first
    clock_base_hz: float | None = None
    clock_max_hz: float | None = None
    memory_bytes: int
    page_bytes: int
    transparent_huge_pages: str | None = None  # "always", "madvise", "never"
    hypervisor: str | None = None
    hardware_counters: bool | None = None
    gpus: list[Gpu] = []
    compiler: Compiler | None = None
    torch: TorchBuild | None = None
    reasons: dict[str, str] = {}


# --- what was measured ------------------------------------------------------------------------


class Estimate(Record, frozen=True, kw_only=True):
    """A figure with its spread: median and the bounds of its 95 % bootstrap interval."""

    median: float
    low: float
    high: float


class PairedRatio(Record, frozen=True, kw_only=True):
    """Rival's time over candidate's time, pair by pair; above 1 the candidate is faster."""

    median: float
    low: float
    high: float
    pairs: list[float]


class Doubt(Record, frozen=True, kw_only=True):
    """A reason to trust a figure less, in a sentence, with what would remove it."""

    about: str
    sentence: str
    remedy: str


# --- ceilings ---------------------------------------------------------------------------------


class ComputeCeiling(Record, frozen=True, kw_only=True):
    """The arithmetic rate that was reached; samples are FLOP/s (int8: OP/s) of single trials."""

    dtype: Dtype
    threads: int
    instruction: str  # what it was reached with: "avx512 fma", "vdpbf16ps", "cuda matmul"
    flops_per_s: float  # best trial
    samples: list[float]


class BandwidthCeiling(Record, frozen=True, kw_only=True):
    """The read bandwidth that was reached over a working set; samples are single trials."""

    level: str  # "L1", "L2", "L3", "DRAM", "HBM"
    threads: int
    page: str  # "4 KiB", "huge"
    working_set_bytes: int  # of all threads together
    bytes_per_s: float  # best trial
    samples: list[float]


class OverheadCeiling(Record, frozen=True, kw_only=True):
    """The least time that an empty unit of work takes."""

    name: str  # "kernel_call", "thread_barrier", "torch_op", "cuda_launch"
    threads: int
    time_s: float  # best trial
    samples: list[float]


class Ceilings(Record, frozen=True, kw_only=True):
    """What this machine was measured to reach, tied to it by `host_key`."""

    host_key: str
    device: str  # "cpu" or "cuda"
    measured_at: str  # ISO 8601, UTC
    elapsed_s: float
    quick: bool
    clock_hz: float | None = None  # inferred from a chain of dependent adds
    compute: list[ComputeCeiling] = []
    bandwidth: list[BandwidthCeiling] = []
    overheads: list[OverheadCeiling] = []
    doubts: list[Doubt] = []
    reasons: dict[str, str] = {}


class LinearRate(Record, frozen=True, kw_only=True):
    """How near PyTorch's linear layer comes to the roofline, at one size of matrix."""

    kernel: str  # "linear_fp32", "linear_bf16", "linear_int8"; "gemv_…": generated by inductor
    rows: int  # M: tokens that share one pass over the weights
    matrix_elements: int  # N·K of one matrix
    working_set_bytes: int  # of all matrices that were run in turn
    efficiency: float  # time on the roofline of that moment over time taken, 0 to about 1
    flops_per_s: float


class AttentionRate(Record, frozen=True, kw_only=True):
    """What PyTorch's fused attention reaches."""

    dtype: Dtype
    prefill_flops_per_s: float  # counted causal: half of the full square
    decode_bytes_per_s: float  # of keys and values read


class ModeOverhead(Record, frozen=True, kw_only=True):
    """What a token costs beside its arithmetic and bytes, measured on a model of next to none."""

    mode: str  # "transformers_eager", "decoder_eager", "decoder_compiled"
    prefill_fixed_s: float
    prefill_per_layer_s: float
    decode_fixed_s: float
    decode_per_layer_s: float


class Rates(Record, frozen=True, kw_only=True, tag_field="kind", tag="rates"):
    """What PyTorch reaches on this machine, from which predictions are made; tied to its host."""

    schema_version: int = SCHEMA_VERSION
    host_key: str
    versions: str  # of torch and transformers
    device: str
    threads: int
    architecture: str
    linear: list[LinearRate] = []
    attention: list[AttentionRate] = []
    elementwise_bytes_per_s: float
    modes: list[ModeOverhead] = []
    speculation_pass_s: float  # Python around one verification pass
    reasons: dict[str, str] = {}


class MachineReport(Record, frozen=True, kw_only=True, tag_field="kind", tag="machine"):
    """What `topout machine` writes."""

    schema_version: int = SCHEMA_VERSION
    machine: Machine
    ceilings: Ceilings | None = None
    reasons: dict[str, str] = {}


# --- a climb ----------------------------------------------------------------------------------


class ModelSummary(Record, frozen=True, kw_only=True):
    """The model that was climbed."""

    name: str
    architecture: str  # Hugging Face model_type
    parameters: int
    weights: WeightsOrigin
    weights_dtype: str  # as stored
    layers: int
    width: int
    heads: int
    kv_heads: int
    vocab_size: int
    context_len: int
    draft: str | None = None
    fingerprint: str = ""  # of config and weights, so that a resumed climb is of the same model


class WorkloadSummary(Record, frozen=True, kw_only=True):
    """What was run: the same for every rung."""

    task: str  # "generate"
    prompt_len: int
    new_tokens: int
    batch_size: int
    threads: int
    device: str
    dtype: Dtype  # of the baseline
    temperature: float  # 0: greedy
    top_k: int | None = None
    seed: int = 0
    prompt_source: str = ""


class PhasePrediction(Record, frozen=True, kw_only=True):
    """What the cost model expects of one phase before it runs."""

    time_s: float  # prefill: of the phase; decode: of one token
    flops: float
    bytes: float
    compute_s: float
    memory_s: float
    overhead_s: float
    bound: Bound


class Prediction(Record, frozen=True, kw_only=True):
    """What the cost model expects of a rung before it runs."""

    prefill: PhasePrediction
    decode: PhasePrediction
    total_s: float
    speedup: float  # over the rival, of the whole workload
    assumptions: list[str] = []


class PhaseResult(Record, frozen=True, kw_only=True):
    """One phase of one rung as measured and placed against the ceilings."""

    tokens_per_s: Estimate
    time_s: Estimate  # prefill: of the phase; decode: of one token
    speedup: PairedRatio | None = None
    flops: float  # the work the phase needs (decode: per token)
    bytes: float
    arithmetic_intensity: float
    mfu_of_ceiling: float | None = None
    mbu_of_ceiling: float | None = None
    bound: Bound
    ceiling_flops_per_s: float | None = None
    ceiling_bytes_per_s: float | None = None
    predicted_time_s: float | None = None


class RunSample(Record, frozen=True, kw_only=True):
    """One timed run of one rung, raw.

    Where a run is slow, `timed_tokens` is below `new_tokens`: so many were generated, and
    `total_s` is TTFT + TPOT · (new_tokens − 1) with the TPOT of those.
    """

    ttft_s: float
    total_s: float
    new_tokens: int
    timed_tokens: int | None = None
    forward_passes: int  # of the target model after prefill; fewer than tokens when speculating
    at_s: float  # when it began, seconds after the climb began
    stolen_share: float | None = None  # of CPU time that the hypervisor took during the run
    ceiling_bytes_per_s: float | None = None  # read bandwidth measured just before
    peak_memory_bytes: int | None = None


class Verification(Record, frozen=True, kw_only=True):
    """How a rung's output compares with the baseline's."""

    method: str
    passed: bool
    reason: str
    positions: int
    token_agreement: float | None = None  # over positions whose margin is above rounding noise
    decided_positions: int | None = None
    rounding_noise: float | None = None
    max_logit_error: float | None = None
    kl_divergence: float | None = None  # nats per token, baseline to rung
    perplexity: float | None = None
    perplexity_ratio: float | None = None
    bits_per_byte: float | None = None
    generated_tokens_compared: int | None = None
    first_divergence: int | None = None
    p_value: float | None = None  # sampled: of the test that the distribution is the baseline's


class RungResult(Record, frozen=True, kw_only=True):
    """One rung: what it was expected to do, what it did, and whether it stays."""

    name: str
    on: list[str]
    rival: str | None = None  # the label of the stack that it was timed against
    status: Status
    reason: str
    change: str  # what the rung changes, one sentence
    output_class: OutputClass
    predicted_speedup: float | None = None
    prediction: Prediction | None = None
    speedup: PairedRatio | None = None  # over the rival, whole workload
    speedup_over_baseline: Estimate | None = None  # chained over the rungs it stands on
    decode_speedup_over_baseline: Estimate | None = None
    prefill: PhaseResult | None = None
    decode: PhaseResult | None = None
    ttft_s: Estimate | None = None
    peak_memory_bytes: int | None = None
    weight_bytes: int | None = None
    prepare_s: float | None = None
    tokens_per_pass: float | None = None  # accepted tokens per forward pass when speculating
    verification: Verification | None = None
    samples: list[RunSample] = []
    rival_samples: list[RunSample] = []
    doubts: list[Doubt] = []
    reasons: dict[str, str] = {}

    @property
    def stack(self) -> list[str]:
        """The rungs in force while this one is measured, itself last."""
        return [*self.on, self.name]


class Duel(Record, frozen=True, kw_only=True):
    """The best stack against the baseline, run in turns: the figure on top of the result."""

    champion: str
    speedup: PairedRatio
    prefill_speedup: PairedRatio
    decode_speedup: PairedRatio


class Climb(Record, frozen=True, kw_only=True, tag_field="kind", tag="climb"):
    """What `topout climb` writes."""

    schema_version: int = SCHEMA_VERSION
    topout_version: str
    created_at: str
    finished: bool
    elapsed_s: float
    machine: Machine
    ceilings: Ceilings | None = None
    model: ModelSummary
    workload: WorkloadSummary
    max_loss: float
    baseline: str = "transformers_eager"
    rungs: list[RungResult] = []
    best: str | None = None
    best_exact: str | None = None
    duel: Duel | None = None
    exact_duel: Duel | None = None
    prediction_error: float | None = None  # median |predicted/measured − 1| over kept rungs
    findings: list[str] = []
    doubts: list[Doubt] = []
    reasons: dict[str, str] = {}


# --- JSON -------------------------------------------------------------------------------------

R = TypeVar("R", bound=Record)


def encode(record: Record) -> bytes:
    """`record` as indented JSON with a final newline.

    Raises ValueError that names the field for an infinite figure or one that is not a number:
    JSON has neither, and what took their place could not be read back.
    """
    _refuse_non_finite(msgspec.to_builtins(record), type(record).__name__)
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def _refuse_non_finite(value: Any, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path} is {value}")
    if isinstance(value, dict):
        for key, part in value.items():
            _refuse_non_finite(part, f"{path}.{key}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            _refuse_non_finite(part, f"{path}[{index}]")


def decode(data: bytes | str, record_type: type[R], source: str = "input") -> R:
    """JSON → record, strictly.

    Raises RecordError that names `source` and the field when `data` is not JSON, is of another
    schema version or kind, or has a missing, unknown or wrongly typed field.
    """
    try:
        raw: Any = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise RecordError(
            f"{source} is not valid JSON ({error}).", "Give a file topout wrote."
        ) from None
    _check_envelope(raw, record_type, source)
    try:
        return msgspec.convert(raw, record_type)
    except msgspec.ValidationError as error:
        raise RecordError(
            f"{source} does not hold a valid record: {error}.", "Write it again with this version."
        ) from None


def _check_envelope(raw: Any, record_type: type[Record], source: str) -> None:
    """Raise RecordError when `raw` is of another schema version or kind than `record_type`."""
    if "schema_version" not in record_type.__struct_fields__:
        return
    if not isinstance(raw, dict) or "schema_version" not in raw:
        raise RecordError(
            f"{source} has no field `schema_version`.", "Give a JSON file that topout wrote."
        )
    version = raw["schema_version"]
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"{source} has schema_version {version!r}, and this topout reads {SCHEMA_VERSION}.",
            "Read it with the topout that wrote it, or run again.",
        )
    kind = record_type.__struct_config__.tag
    if raw.get("kind") != kind:
        raise RecordError(
            f"{source} is of kind {raw.get('kind')!r}, not {kind!r}.", "Give the other file."
        )


def write(record: Record, path: Path) -> None:
    """Write `record` to `path`: a reader sees the old file or the new one, never a half.

    Raises OutputError when the folder is read-only, missing or full.
    """
    import os
    import tempfile

    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(encode(record))
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}.", "Choose another place for the output."
        ) from None


def read(path: Path, record_type: type[R]) -> R:
    """Read a record from a file; raises RecordError that names the file and the field."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}.", "Check the path.") from None
    return decode(data, record_type, str(path))
