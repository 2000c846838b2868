"""From predictions, runs and verifications to the results that a climb records."""

import msgspec

from topout.cost.predict import Context, Expectation, predict
from topout.generation.build import Build
from topout.generation.placement import phase_ratios, place_run, tokens_per_pass
from topout.ladder.candidate import Candidate, label_of
from topout.measure.checks import sample_doubts
from topout.measure.runner import Duel
from topout.measure.stats import chained
from topout.measure.worker import WorkerFailure
from topout.records import Duel as DuelResult
from topout.records import (
    Estimate,
    PairedRatio,
    Prediction,
    RungResult,
    RunSample,
    Status,
    Verification,
)
from topout.rungs.registry import BASELINE, find_rung
from topout.rungs.rung import Rung


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a rung that was tried."""

    status: Status
    reason: str
    verification: Verification | None = None
    duel: Duel[RunSample] | None = None
    samples: list[RunSample] = []  # of the baseline, which has no rival
    rival: str | None = None


class Results:
    """Makes the results of one climb; `acceptance` is filled in once the baseline has run."""

    def __init__(self, build: Build, context: Context) -> None:
        self.build = build
        self.context = context
        self.acceptance: dict[str, float] = {}

    def predict(self, stack: list[str], rival_stack: list[str]) -> Prediction:
        """What the cost model expects of a stack, before it has run."""
        config = self.build.source.config
        rival = predict(config, self.expectation(rival_stack), self.context, None)
        return predict(config, self.expectation(stack), self.context, rival.total_s)

    def expectation(self, stack: list[str]) -> Expectation:
        """What the rungs of a stack tell the cost model."""
        expectation = Expectation(dtype=self.context.workload.dtype, acceptance=self.acceptance)
        for name in dict.fromkeys([BASELINE, *stack]):
            expectation = find_rung(name).expect(expectation, self.build)
        return expectation

    def plain(self, rung: Rung, stack: list[str], status: Status, reason: str) -> RungResult:
        """A result without figures: skipped, or to be filled in."""
        return RungResult(
            name=rung.name,
            on=[name for name in stack if name != rung.name],
            status=status,
            reason=reason,
            change=rung.change,
            output_class=rung.output_class,
        )

    def failed(
        self, rung: Rung, stack: list[str], prediction: Prediction, failure: WorkerFailure
    ) -> RungResult:
        """A rung whose worker crashed, hung, ran out of memory or raised."""
        words = {"memory": "Ran out of memory: it", "error": "Failed:", "input": "Failed:"}
        start = words.get(failure.kind, "It")
        message = failure.message.rstrip(".")
        return msgspec.structs.replace(
            self.plain(rung, stack, "failed", f"{start} {message}."),
            prediction=prediction,
            predicted_speedup=prediction.speedup,
        )

    def tried(
        self,
        rung: Rung,
        candidate: Candidate,
        prediction: Prediction,
        outcome: Outcome,
        earlier: list[RungResult],
    ) -> RungResult:
        """A rung that ran; `earlier` results hold the rival's speedup over the baseline."""
        duel = outcome.duel
        samples = duel.candidate if duel is not None else outcome.samples
        result = msgspec.structs.replace(
            self.plain(rung, candidate.stack, outcome.status, outcome.reason),
            rival=outcome.rival,
            prediction=prediction,
            predicted_speedup=prediction.speedup,
            verification=outcome.verification,
            weight_bytes=candidate.weight_bytes,
            prepare_s=candidate.prepare_s,
            samples=samples,
            rival_samples=duel.rival if duel is not None else [],
            doubts=sample_doubts("runs", samples),
        )
        if not samples:
            return result
        result = self._with_phases(result, candidate.stack, duel)
        return self._with_speedups(result, duel, earlier)

    def with_more_runs(self, baseline: RungResult, samples: list[RunSample]) -> RungResult:
        """The baseline's result over more of its runs: those in which it was a rung's rival."""
        more = msgspec.structs.replace(baseline, samples=[*baseline.samples, *samples])
        more = msgspec.structs.replace(more, doubts=sample_doubts("runs", more.samples))
        return self._with_phases(more, [], None)

    def _with_phases(
        self, result: RungResult, stack: list[str], duel: Duel[RunSample] | None
    ) -> RungResult:
        """Prefill and decode placed against the ceilings, and memory."""
        expectation, context = self.expectation(stack), self.context
        placed = place_run(
            result.samples,
            self.build.source.config,
            expectation,
            context.workload,
            context.ceilings,
            result.prediction,
            duel,
        )
        per_pass = tokens_per_pass(result.samples) if expectation.proposed_tokens else None
        return msgspec.structs.replace(
            result, tokens_per_pass=per_pass, **msgspec.structs.asdict(placed)
        )

    def _with_speedups(
        self, result: RungResult, duel: Duel[RunSample] | None, earlier: list[RungResult]
    ) -> RungResult:
        """Over the rival, and chained over the rival's own speedup over the baseline."""
        if duel is None:
            one = Estimate(median=1.0, low=1.0, high=1.0)
            return msgspec.structs.replace(
                result, speedup_over_baseline=one, decode_speedup_over_baseline=one
            )
        rival = next((each for each in earlier if label_of(each.stack) == result.rival), None)
        whole, decode = duel.ratio(), phase_ratios(duel).decode
        return msgspec.structs.replace(
            result,
            speedup=whole,
            speedup_over_baseline=_chain(rival.speedup_over_baseline if rival else None, whole),
            decode_speedup_over_baseline=_chain(
                rival.decode_speedup_over_baseline if rival else None, decode
            ),
        )


def _chain(before: Estimate | None, ratio: PairedRatio) -> Estimate | None:
    return chained(before, ratio) if before is not None else None


def duel_result(champion: str, duel: Duel[RunSample]) -> DuelResult:
    """The figure on top of the result."""
    ratios = phase_ratios(duel)
    return DuelResult(
        champion=champion,
        speedup=duel.ratio(),
        prefill_speedup=ratios.prefill,
        decode_speedup=ratios.decode,
    )
