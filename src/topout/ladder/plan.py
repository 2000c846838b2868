"""What is climbed, and under which terms."""

import msgspec

from topout.generation.build import Build, Preparation
from topout.generation.quality import QualityTest
from topout.generation.texts import Texts
from topout.measure.runner import StoppingRule
from topout.progress import Announce, Notify
from topout.records import WorkloadSummary
from topout.rungs.rung import Rung


class Plan(msgspec.Struct, kw_only=True, frozen=True):
    """The model, the workload, the rungs and how they are judged; made by `topout.verbs.climb`."""

    preparation: Preparation  # of the baseline; `transforms` are filled in per rung
    build: Build  # the same
    texts: Texts
    workload: WorkloadSummary
    rungs: list[Rung]  # the baseline first
    max_loss: float
    quality: QualityTest
    accept_unproven: bool
    rule: StoppingRule
    rung_timeout_s: float
    notify: Notify
    announce: Announce
