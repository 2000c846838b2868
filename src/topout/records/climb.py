"""What `topout run` and `topout climb` write: what was predicted, measured and verified."""

from typing import Literal

from topout.records.machine import Ceilings, Machine
from topout.records.record import (
    SCHEMA_VERSION,
    Bound,
    Doubt,
    Dtype,
    Estimate,
    Interval,
    OutputClass,
    PairedRatio,
    Record,
    Status,
    WeightsOrigin,
)

# "forward": one pass over a batch, of an encoder or a classifier of images.
Task = Literal["generate", "forward"]


class ModelSummary(Record, frozen=True, kw_only=True):
    """The model that was climbed."""

    name: str
    architecture: str  # Hugging Face model_type
    class_name: str | None = None  # of transformers, where that is not the one with a text head
    parameters: int
    weights: WeightsOrigin
    weights_dtype: str  # as stored
    layers: int
    width: int
    heads: int  # 0 here and below: it has none
    kv_heads: int
    vocab_size: int
    context_len: int
    draft: str | None = None
    fingerprint: str = ""  # of config and weights, so that a resumed climb is of the same model


class WorkloadSummary(Record, frozen=True, kw_only=True):
    """What was run: the same for every rung."""

    task: Task
    prompt_len: int  # of a pass: tokens of a sequence; 0 where images go in
    new_tokens: int  # of a pass: 0
    image_size: int | None = None  # pixels on a side, where images go in
    batch_size: int
    threads: int
    device: str
    dtype: Dtype  # of the baseline
    dtype_origin: str = ""  # why it is that one: "as published", "as asked"
    temperature: float  # 0: greedy
    top_k: int | None = None
    seed: int = 0
    prompt_source: str = ""


def unit_of(workload: WorkloadSummary) -> str:
    """What a rate of a workload counts."""
    return "images/s" if workload.image_size else "tokens/s"


class PhasePrediction(Record, frozen=True, kw_only=True):
    """What the cost model expects of one phase before it runs."""

    time_s: float  # prefill: of the phase; decode: of one token
    interval: Interval | None = None  # in which the time is expected to lie
    flops: float
    bytes: float
    compute_s: float
    memory_s: float
    overhead_s: float
    bound: Bound


class Prediction(Record, frozen=True, kw_only=True):
    """What the cost model expects of a rung before it runs."""

    prefill: PhasePrediction  # of a model of one pass: that pass
    decode: PhasePrediction | None = None  # None: nothing is generated
    total_s: float
    speedup: float  # over the rival, of the whole workload
    speedup_interval: Interval | None = None
    assumptions: list[str] = []


class PhaseResult(Record, frozen=True, kw_only=True):
    """One phase of one rung as measured and placed against the ceilings."""

    tokens_per_s: Estimate  # images per second, where images go in
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
    # Whether that is what was read between the runs, since the bandwidth on file was exceeded.
    ceiling_read_again: bool = False
    predicted_time_s: float | None = None
    predicted_interval: Interval | None = None


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
    prompt: int | None = None  # its number; the first, where a run is of several
    processor_s: float | None = None  # CPU time of the process, of what was timed
    stolen_share: float | None = None  # of CPU time that the hypervisor took during the run
    other_load: float | None = None  # share of CPU time that other programs used during it
    ceiling_bytes_per_s: float | None = None  # read bandwidth measured just before
    peak_memory_bytes: int | None = None


QualityVerdict = Literal["right", "wrong", "not proven"]


class TextLoss(Record, frozen=True, kw_only=True):
    """The loss of one held-out text, in nats per token, of the baseline and of a rung.

    `rise` is that of its perplexity, 0.01 for 1 %, with its 95 % interval.
    """

    text: str
    tokens: int
    bytes_per_token: float
    baseline_loss: float
    loss: float
    rise: float
    interval: Interval


class Quality(Record, frozen=True, kw_only=True):
    """Whether a rung's loss on held-out text stays within the bound, on the tokens it took.

    `rise` is of the perplexity over all texts, with its 95 % interval; the verdict is made at an
    error of 2 % over all looks at a growing number of tokens.
    """

    verdict: QualityVerdict
    max_loss: float
    tokens: int
    rise: float
    interval: Interval
    texts: list[TextLoss]
    looks: int
    elapsed_s: float
    tokens_to_decide: int | None = None  # not proven: about how many, were `rise` the true one


class DisturbedPair(Record, frozen=True, kw_only=True):
    """Runs of two rivals side by side that the machine disturbed: repeated, and not used."""

    rival: RunSample
    candidate: RunSample


class Verification(Record, frozen=True, kw_only=True):
    """How a rung's output compares with the baseline's."""

    method: str
    passed: bool
    verdict: QualityVerdict | None = None
    reason: str
    against: str | None = None  # the label of the stack it is compared with, if not the baseline
    positions: int
    token_agreement: float | None = None  # over positions whose margin is above rounding noise
    agreement_interval: Interval | None = None  # 95 %
    decided_positions: int | None = None
    rounding_noise: float | None = None
    max_logit_error: float | None = None
    kl_divergence: float | None = None  # nats per token, baseline to rung
    kl_interval: Interval | None = None  # 95 %
    perplexity: float | None = None
    perplexity_ratio: float | None = None
    bits_per_byte: float | None = None
    generated_tokens_compared: int | None = None
    first_divergence: int | None = None
    p_value: float | None = None  # sampled: of the test that the distribution is the baseline's
    cosine_distance: float | None = None  # hidden states: 1 - the cosine with the baseline's
    cosine_interval: Interval | None = None  # 95 %
    decode_divergence: float | None = None  # near: nats per token, its decode from its large pass
    quality: Quality | None = None  # near: of trained weights


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
    speedup_over_baseline: Estimate | None = None  # the product of the ratios of its stack
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
    disturbed: list[DisturbedPair] = []  # repeated, and used for nothing
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
    decode_speedup: PairedRatio | None = None  # None: nothing is generated
    samples: list[RunSample] = []  # the champion's
    rival_samples: list[RunSample] = []  # the baseline's
    disturbed: list[DisturbedPair] = []


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

    @property
    def final_stack(self) -> list[str]:
        """The rungs in force after the last one that was kept."""
        kept = [rung for rung in self.rungs if rung.status == "kept"]
        return kept[-1].stack if kept else []

    def replaced_by(self, rung: RungResult) -> str | None:
        """The rung that put a kept one out of the final stack, since both cannot be in force."""
        if rung.status != "kept" or rung.name in (self.baseline, *self.final_stack):
            return None
        later = self.rungs[self.rungs.index(rung) + 1 :]
        return next(
            each.name for each in later if each.status == "kept" and rung.name not in each.stack
        )

    def needed_by(self, rung: RungResult) -> str | None:
        """The rung that brought one that was not kept by itself into the final stack."""
        if rung.status == "kept" or rung.name not in self.final_stack:
            return None
        later = self.rungs[self.rungs.index(rung) + 1 :]
        return next(
            (each.name for each in later if each.status == "kept" and rung.name in each.stack), None
        )

    def duel_of(self, rung: RungResult) -> Duel | None:
        """The final duel of the rung's stack with the baseline, where it met it."""
        stack = " + ".join(rung.stack)
        duels = [each for each in (self.duel, self.exact_duel) if each is not None]
        return next((each for each in duels if each.champion == stack), None)


class ProductCounts(Record, frozen=True, kw_only=True):
    """The matrix products of one generation: through the version, and left to PyTorch."""

    new_tokens: int  # of that generation
    routed: int
    passed: dict[str, int] = {}  # by reason: "bf16", "batched"
    copied: dict[str, int] = {}  # routed ones for which a matrix was copied, by matrix: "A", "C"


class RunResult(Record, frozen=True, kw_only=True):
    """One way to run the model: its phases placed under the ceilings, and its single runs."""

    name: str  # "pytorch", or the version or file in its place
    prefill: PhaseResult  # of a model of one pass: that pass
    decode: PhaseResult | None = None  # None: nothing is generated
    ttft_s: Estimate
    peak_memory_bytes: int | None = None
    samples: list[RunSample] = []

    @property
    def phases(self) -> list[tuple[str, PhaseResult]]:
        """Each phase by its name."""
        if self.decode is None:
            return [("forward", self.prefill)]
        return [("prefill", self.prefill), ("decode", self.decode)]


class GemmSwap(Record, frozen=True, kw_only=True):
    """A matrix product in PyTorch's place: what it took over, whether it is right, how fast.

    `result` and the speedups are None where the output was not right or the version failed; the
    reason is in `reason`.
    """

    name: str
    source: str | None = None  # the user's own file
    counts: ProductCounts | None = None
    verification: Verification | None = None
    result: RunResult | None = None
    prefill_speedup: PairedRatio | None = None  # over PyTorch's own
    decode_speedup: PairedRatio | None = None
    speedup: PairedRatio | None = None  # of the whole workload
    disturbed: list[DisturbedPair] = []
    reason: str | None = None  # why there is no result

    @property
    def passed(self) -> bool:
        """Whether it ran and its output was right."""
        return self.verification is not None and self.verification.passed and self.reason is None


class RunReport(Record, frozen=True, kw_only=True, tag_field="kind", tag="run"):
    """What `topout run` writes."""

    schema_version: int = SCHEMA_VERSION
    topout_version: str
    created_at: str
    elapsed_s: float
    machine: Machine
    ceilings: Ceilings | None = None
    model: ModelSummary
    workload: WorkloadSummary
    backend: str  # "decoder" or "transformers"
    weight_bytes: int
    result: RunResult  # with PyTorch's own matrix product
    gemm: GemmSwap | None = None
    findings: list[str] = []
    doubts: list[Doubt] = []
    reasons: dict[str, str] = {}

    @property
    def results(self) -> list[RunResult]:
        """PyTorch's own, and what was in its place where it was timed."""
        swapped = self.gemm.result if self.gemm is not None else None
        return [self.result, *([swapped] if swapped is not None else [])]
