"""What `topout climb --dry-run` writes: a ladder that was predicted and not run."""

from topout.records.climb import ModelSummary, Prediction, WorkloadSummary
from topout.records.machine import Ceilings, Machine
from topout.records.record import SCHEMA_VERSION, Doubt, OutputClass, Record


class RungForecast(Record, frozen=True, kw_only=True):
    """What the cost model expects of a rung on top of those that it expects to help."""

    name: str
    on: list[str]
    change: str
    output_class: OutputClass
    rival: str | None = None  # the label of the stack that it would be timed against
    helps: bool  # faster than its rival by the prediction: the next rungs stand on it
    reason: str
    prediction: Prediction | None = None  # None: it does not apply
    speedup_over_baseline: float | None = None  # predicted, of the whole workload


class ClimbForecast(Record, frozen=True, kw_only=True, tag_field="kind", tag="climb-forecast"):
    """The predicted ladder: no rung was run, and none was verified."""

    schema_version: int = SCHEMA_VERSION
    topout_version: str
    created_at: str
    elapsed_s: float
    machine: Machine
    ceilings: Ceilings
    model: ModelSummary
    workload: WorkloadSummary
    rungs: list[RungForecast]
    best: str  # the label of the stack of all that are expected to help
    doubts: list[Doubt] = []
    reasons: dict[str, str] = {}
