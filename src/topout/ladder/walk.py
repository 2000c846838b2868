"""The climb, rung by rung: predicted, built, verified, timed against the best so far, judged.

Read `Walk` from the top: `climb` walks over the ladder, `_climb_rung` is the way of one rung.
"""

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

from topout.cost.predict import Context
from topout.errors import InputError, TopoutError
from topout.generation.build import Build, Preparation
from topout.generation.quality import QualityTest, judged_by_distance, judged_by_loss
from topout.generation.reference import Reference
from topout.generation.texts import Texts
from topout.ladder.duel import Candidate, Timing
from topout.ladder.findings import chain_doubt
from topout.ladder.predictions import Predictions
from topout.ladder.stack import Stack
from topout.ladder.state import ClimbState
from topout.ladder.verdict import Trial, duel_result, judge, tried, untried, with_more_runs
from topout.machine.native_ceilings import BandwidthProbe
from topout.measure.disturbance import disturbance_doubts
from topout.measure.runner import Duel, StoppingRule
from topout.measure.worker import WorkerFailure
from topout.models.architecture import total_parameters
from topout.models.config import DTYPE_BYTES, architecture_of
from topout.progress import Notify
from topout.records import Doubt, RungResult, RunSample, Verification
from topout.rungs.registry import BASELINE
from topout.rungs.rung import Rung

VERIFYING_BUDGET_S = 60.0  # of the baseline's own decode path, which sets the number of windows
_LEAST_BATCHES = 2  # of windows: prompts of two lengths
BASELINE_RUNS = 3
_MOST_PROBED_BYTES = 256 << 20


class Plan(msgspec.Struct, kw_only=True, frozen=True):
    """What is climbed, and under which terms; made by `topout.verbs.climb`."""

    preparation: Preparation  # of the baseline; `transforms` are filled in per rung
    build: Build  # the same
    texts: Texts
    context: Context
    rungs: list[Rung]  # the baseline first
    max_loss: float
    quality: QualityTest
    accept_unproven: bool
    rule: StoppingRule
    rung_timeout_s: float
    notify: Notify


class Walk:
    """One climb under way; rungs whose results are in its state are not measured again."""

    baseline: Candidate
    exact: Candidate  # the best exact stack, kept for the final duel

    def __init__(self, plan: Plan, state: ClimbState) -> None:
        self.plan = plan
        self.state = state
        self._predictions = Predictions(plan.build, plan.context)
        self._timing = Timing(plan.context.workload.new_tokens, state.elapsed_s)
        self._windows = len(plan.texts.prompt_lens)
        self._untrained: str | None = None  # why held-out text says nothing of quality
        self._held = contextlib.ExitStack()

    def climb(self) -> None:
        """Climb all rungs; an interruption leaves what was finished in the state and on disk."""
        with self._held:
            self._timing.probe = self._open_probe()
            self.baseline = self.exact = champion = self._start(Stack())
            self._climb_baseline()
            for rung in self.plan.rungs[1:]:
                champion = self._climb_rung(rung, champion)
            self._final_duels(champion)
        self.state.finish()
        self._save()

    # --- the baseline -----------------------------------------------------------------------

    def _climb_baseline(self) -> None:
        """Prepare it, make the reference that all are verified against, and time it."""
        baseline, earlier = self.baseline, self.state.result_of(BASELINE)
        samples: list[RunSample] = []
        try:
            self._notify(f"{BASELINE}: load and warm up")
            baseline.prepare(self._preparation(baseline.stack))
            self._notify(f"{BASELINE}: write the reference")
            baseline.reference = self._make_first_reference()
            self._untrained = self._reason_untrained()
            if earlier is not None:
                self._timing.resume(earlier.samples[-1])
            else:
                self._notify(f"{BASELINE}: time")
                samples = self._time_baseline()
            # What speculation would accept of the baseline's own text, for the predictions.
            self._predictions.acceptance = baseline.call(
                "acceptance",
                path=str(baseline.reference),
                timed_tokens=self._timing.timed_tokens,
            )
        except WorkerFailure as failure:
            if failure.kind == "input":
                raise InputError(failure.message) from None
            raise InputError(
                f"the baseline {failure.message}.",
                f"See {self.state.folder.logs}; try fewer tokens or a smaller model.",
            ) from None
        if earlier is None:
            prediction = self._predictions.predict(baseline.stack, baseline.stack)
            self._add(Trial(self.plan.rungs[0], baseline, prediction, samples=samples))

    def _make_first_reference(self) -> Path:
        """Of all windows, cut to as many as there is time for in each rung."""
        path = self.state.folder.scratch / "baseline.safetensors"
        batch = self.plan.context.workload.batch_size
        once_s = self._make_reference(self.baseline, path, self._windows)
        # About half of it was for scoring a batch step by step, as every rung does with each.
        affordable = max(_LEAST_BATCHES, int(VERIFYING_BUDGET_S / (once_s / 2))) * batch
        if affordable < self._windows:
            self._windows = affordable
            Reference.load(path).first(affordable).save(path)
        return path

    def _make_reference(self, of: Candidate, path: Path, windows: int) -> float:
        texts = self.plan.texts
        return of.make_reference(path, texts.prompt_lens[:windows], texts.scored_tokens)

    def _reason_untrained(self) -> str | None:
        """Weights that know nothing of the text lose at least what guessing evenly would."""
        source = self.plan.build.source
        if source.origin == "random":
            return "the weights are random"
        loss = self.plan.quality.baseline_loss(self.baseline)
        if loss < math.log(source.config.vocab_size):
            return None
        reason = (
            f"the baseline's perplexity of held-out text is {math.exp(loss):.4g}, and guessing "
            f"evenly among its {source.config.vocab_size} tokens gives no more"
        )
        self.state.add_doubt(
            Doubt(
                about="quality",
                sentence=f"{reason[0].upper()}{reason[1:]}: the model is not made for this text.",
                remedy="Check the checkpoint and its tokenizer, or give a --text of its kind.",
            )
        )
        return reason

    def _time_baseline(self) -> list[RunSample]:
        first = self._timing.run(self.baseline, 0)
        doubt = self._timing.fit_to(first)
        if doubt is not None:
            self.state.add_doubt(doubt)
        return [first, *(self._timing.run(self.baseline, n) for n in range(1, BASELINE_RUNS))]

    # --- one rung ---------------------------------------------------------------------------

    def _climb_rung(self, rung: Rung, champion: Candidate) -> Candidate:
        """Predict, build, verify, time and judge a rung; returns the champion after it."""
        finished = self.state.result_of(rung.name)
        if finished is not None:
            return self._resume(finished, champion)
        stack = champion.stack.plus(rung)
        reason = reason_to_skip(stack, self.plan.build, self.state.record.rungs)
        if reason is not None:
            self._add_result(untried(rung, stack, "skipped", reason))
            return champion
        prediction = self._predictions.predict(stack, champion.stack)
        trial = Trial(rung, self._start(stack), prediction, rival=champion.label)
        self._try(trial, champion)
        if self._add(trial) != "kept":
            trial.candidate.close()
            return champion
        self._close_superseded(champion, trial.candidate)
        return trial.candidate

    def _try(self, trial: Trial, champion: Candidate) -> None:
        """Measure; that a worker fails is a finding too.

        The death of the rival's is not the rung's fault: both are started again, and the rung gets
        a second chance.
        """
        try:
            self._measure(trial, champion)
            return
        except WorkerFailure as failure:
            if champion.alive:
                trial.failure = failure
                return
        try:
            for each in (champion, trial.candidate):
                each.restart()
            champion.prepare(self._preparation(champion.stack))
            self._measure(trial, champion)
        except WorkerFailure as failure:
            trial.failure = failure

    def _measure(self, trial: Trial, champion: Candidate) -> None:
        """Build, verify, and time what is right; raises WorkerFailure."""
        candidate, name = trial.candidate, trial.rung.name
        trial.verification = trial.duel = None
        self._notify(f"{name}: build and warm up")
        candidate.prepare(self._preparation(candidate.stack))
        self._notify(f"{name}: verify")
        trial.verification = self._verify(trial, champion)
        if not self._is_acceptable(trial.verification):
            return
        trial.duel = self._duel(candidate, champion, name)
        if judge(trial)[0] == "kept":
            self._keep_reference(candidate)

    def _verify(self, trial: Trial, champion: Candidate) -> Verification:
        """Compare with the baseline, under the class of the whole stack.

        An exact rung on top of an inexact champion must not change the champion's tokens; then it
        loses what that does.
        """
        candidate, stack, max_loss = trial.candidate, trial.candidate.stack, self.plan.max_loss
        text_bytes = sum(self.plan.texts.scored_bytes[: self._windows])
        is_near = trial.rung.output_class == "near"
        if not is_near and stack.below == champion.stack and champion.reference is not None:
            found = candidate.verify(champion.reference, "exact", max_loss, text_bytes)
            label = None if champion is self.baseline else champion.label
            return msgspec.structs.replace(found, against=label)
        assert self.baseline.reference is not None
        found = candidate.verify(self.baseline.reference, stack.output_class, max_loss, text_bytes)
        if not found.passed or stack.output_class == "exact":
            return found
        if self._untrained is not None:
            return judged_by_distance(found, max_loss, self._untrained)
        self._notify(f"{trial.rung.name}: score held-out text")
        quality = self.plan.quality.judge(candidate, self.baseline, max_loss)
        return judged_by_loss(found, quality)

    def _is_acceptable(self, found: Verification) -> bool:
        return found.passed or (found.verdict == "not proven" and self.plan.accept_unproven)

    def _keep_reference(self, candidate: Candidate) -> None:
        """An inexact champion is what later exact rungs are compared with."""
        if candidate.stack.output_class == "near":
            path = self.state.folder.scratch / f"{len(self.state.record.rungs)}.safetensors"
            self._make_reference(candidate, path, self._windows)
            candidate.reference = path

    def _duel(self, candidate: Candidate, rival: Candidate, name: str) -> Duel[RunSample]:
        self._notify(f"{name}: time against {rival.label}")
        return self._timing.duel(
            candidate,
            rival,
            self.plan.rule,
            on_pair=lambda ratio: self._notify(
                f"{name}: pair {len(ratio.pairs)}, {ratio.median:.2f}× {rival.label}"
            ),
        )

    def _close_superseded(self, champion: Candidate, candidate: Candidate) -> None:
        """End the workers that nothing runs against any more; each holds a model in memory."""
        former = {champion, self.exact}
        if candidate.stack.output_class == "exact":
            self.exact = candidate
        for each in former - {self.baseline, self.exact}:
            each.close()

    def _resume(self, finished: RungResult, champion: Candidate) -> Candidate:
        """The champion after a rung that an earlier, interrupted climb had finished.

        Only the last kept one and the last exact one are needed again, and prepared.
        """
        if finished.status != "kept":
            return champion
        stack = Stack.of(finished.stack)
        rungs = self.state.record.rungs
        later = [each for each in rungs[rungs.index(finished) + 1 :] if each.status == "kept"]
        is_last_exact = stack.output_class == "exact" and all(
            Stack.of(each.stack).output_class == "near" for each in later
        )
        if later and not is_last_exact:
            return champion
        self._notify(f"{finished.name}: kept before the interruption")
        candidate = self._start(stack)
        candidate.prepare(self._preparation(stack))
        self._keep_reference(candidate)
        if is_last_exact:
            self.exact = candidate
        return candidate

    # --- the end ----------------------------------------------------------------------------

    def _final_duels(self, champion: Candidate) -> None:
        """The best, and the best exact where that is another, against the baseline in turns."""
        record = self.state.record
        self.state.update(best=champion.label, best_exact=self.exact.label)
        if champion is not self.baseline and record.duel is None:
            self._final_duel("duel", champion)
        if self.exact not in (champion, self.baseline) and record.exact_duel is None:
            self._final_duel("exact_duel", self.exact)
        self._save()

    def _final_duel(self, field: str, candidate: Candidate) -> None:
        try:
            duel = self._duel(candidate, self.baseline, candidate.label)
        except WorkerFailure as failure:
            self.state.add_reason("duel", failure.message)
            return
        result = duel_result(candidate.label, duel)
        self.state.update(**{field: result})
        doubts = disturbance_doubts(f"{candidate.label}, speedup", duel)
        chain = chain_doubt(result, self.state.record.rungs)
        for doubt in [*doubts, *([chain] if chain is not None else [])]:
            self.state.add_doubt(doubt)

    # --- what the steps share ---------------------------------------------------------------

    def _start(self, stack: Stack) -> Candidate:
        """A worker process for a stack, which ends with the climb at the latest."""
        threads = self.plan.context.workload.threads
        candidate = Candidate(stack, self.state.folder.logs, threads, self.plan.rung_timeout_s)
        self._held.callback(candidate.close)
        return candidate

    def _preparation(self, stack: Stack) -> Preparation:
        return msgspec.structs.replace(self.plan.preparation, transforms=stack.names)

    def _open_probe(self) -> BandwidthProbe | None:
        """A probe of the bandwidth at the model's size; none on a GPU or without a compiler."""
        workload = self.plan.context.workload
        if workload.device != "cpu":
            return None
        parameters = total_parameters(architecture_of(self.plan.build.source.config))
        size = parameters * DTYPE_BYTES[workload.dtype]
        try:
            probe = BandwidthProbe(workload.threads, min(size, _MOST_PROBED_BYTES))
        except TopoutError as error:
            self.state.add_reason("ceiling_bytes_per_s", str(error))
            return None
        return self._held.enter_context(probe)

    def _add(self, trial: Trial) -> str:
        """Judge a trial and add its result; returns the verdict."""
        verdict = judge(trial)
        self._add_result(tried(trial, verdict, self._predictions, self.state.record.rungs))
        return verdict[0]

    def _add_result(self, result: RungResult) -> None:
        baseline = None
        if result.rival == BASELINE:  # it has run more often by this
            first = self.state.record.rungs[0]
            baseline = with_more_runs(first, result.rival_samples, self._predictions)
        self.state.add(result, baseline)
        self._save()
        self._notify(f"{result.name}: {result.status}. {result.reason}")

    def _save(self) -> None:
        self.state.save(self._timing.bandwidths)

    def _notify(self, text: str) -> None:
        """Tell what happens now; the final duels count as one rung more."""
        done = len(self.state.record.rungs) / (len(self.plan.rungs) + 1)
        self.plan.notify(text, done)


def reason_to_skip(stack: Stack, build: Build, earlier: Sequence[RungResult]) -> str | None:
    """Why a stack cannot be tried: a rung does not apply, or what it stands on is not sound."""
    broken = {each.name: each for each in earlier if each.status != "kept"}
    for rung in stack.rungs:
        reason = rung.reason_to_skip(build)
        if reason is not None:
            return f"{reason[0].upper()}{reason[1:]}."
        below = broken.get(rung.name)
        if rung is not stack.rungs[-1] and below is not None and not _is_sound(below):
            return f"It stands on {rung.name}, which was {below.status}."
    return None


def _is_sound(result: RungResult) -> bool:
    """Whether a rung that was not kept may still carry others: it ran, and was right."""
    wrong = result.verification is not None and not result.verification.passed
    return result.status == "rejected" and not wrong
