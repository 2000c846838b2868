"""What `topout generate` writes: a text, and how fast it came."""

from typing import ClassVar

from topout.records.climb import ModelSummary
from topout.records.record import SCHEMA_VERSION, Doubt, Dtype, OutputClass, Record


class GenerateReport(Record, frozen=True, kw_only=True, tag_field="kind", tag="generate"):
    """A text that a model generated under a stack of rungs."""

    PROSE: ClassVar = ("prompt", "text")

    schema_version: int = SCHEMA_VERSION
    topout_version: str
    created_at: str
    model: ModelSummary
    stack: str  # the rungs in force, joined by " + "
    output_class: OutputClass  # of the stack
    device: str
    dtype: Dtype  # of the baseline
    threads: int
    temperature: float  # 0: greedy
    top_k: int | None = None
    top_p: float | None = None
    seed: int
    stop: list[str] = []
    max_new_tokens: int
    prompt: str
    prompt_tokens: int
    text: str
    token_ids: list[int]  # that were generated
    finish: str  # "length", "end of text", "stop", "context", "interrupted"
    load_s: float  # weights, graphs and warm-up
    prefill_s: float | None = None  # to the first token
    prefill_tokens_per_s: float | None = None
    decode_s: float | None = None  # from the first token to the last
    decode_tokens_per_s: float | None = None
    tokens_per_pass: float | None = None  # after the prefill; above 1 where the stack speculates
    doubts: list[Doubt] = []
    reasons: dict[str, str] = {}
