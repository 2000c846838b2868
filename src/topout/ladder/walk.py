"""The climb: rung by rung predict, prepare, verify, time against the best so far."""

import contextlib
import time
from pathlib import Path

import msgspec

from topout.cost.predict import Context
from topout.errors import InputError, OutputError
from topout.generation.build import Build, Preparation
from topout.generation.placement import mean_run, prediction_error
from topout.generation.texts import Texts
from topout.ladder.candidate import Candidate, label_of
from topout.ladder.findings import climb_findings
from topout.ladder.verdict import Outcome, Results, duel_result
from topout.machine.native_ceilings import BandwidthProbe
from topout.measure.checks import drift_doubt
from topout.measure.runner import Duel, StoppingRule, run_in_turns
from topout.measure.stats import estimate
from topout.measure.worker import WorkerFailure
from topout.progress import Notify
from topout.records import (
    Climb,
    Doubt,
    Prediction,
    RungResult,
    RunSample,
    Verification,
)
from topout.records import Duel as DuelResult
from topout.run_folder import RunFolder
from topout.rungs.registry import BASELINE, class_of, reason_to_skip, stack_with
from topout.rungs.rung import Rung

REFERENCE_BUDGET_S = 12.0  # time that a reference may take, which sets the number of windows
BASELINE_RUNS = 3
SLOW_RUN_S = 2.5  # a baseline's run from here on is timed over fewer tokens
LEAST_TIMED_TOKENS = 16
FAST_RUN_S = 1.0  # a baseline's run below this is made of two prompts


def prompts_per_run(of_baseline: RunSample) -> int:
    """Two prompts where time allows: what speculation gains depends on the text."""
    return 2 if of_baseline.total_s < FAST_RUN_S else 1


class LadderSetup(msgspec.Struct, kw_only=True):
    """What a ladder stands on, made by `climb`."""

    folder: RunFolder
    preparation: Preparation  # its `transforms` are filled in per rung
    texts: Texts
    context: Context
    rungs: list[Rung]
    max_loss: float
    rule: StoppingRule
    rung_timeout_s: float
    record: Climb  # rungs that are in it are not measured again
    notify: Notify


class Ladder:
    """Climbs, and has the record on disk after every rung."""

    def __init__(self, setup: LadderSetup) -> None:
        self.setup = setup
        self.record = setup.record
        self.build: Build = setup.preparation.build()
        self.results = Results(self.build, setup.context)
        self.write_error: OutputError | None = None
        self._began = time.monotonic() - setup.record.elapsed_s
        self._windows = setup.texts.windows
        self._timed_tokens = setup.context.workload.new_tokens
        self._prompts_per_run = 1
        self._exact: Candidate | None = None  # the best exact stack stays for the final duel
        self._probe: BandwidthProbe | None = None
        self._probes: list[float] = []

    # --- the climb --------------------------------------------------------------------------

    def climb(self) -> Climb:
        """Climb all rungs; an interruption leaves what was finished in `record` and on disk."""
        with contextlib.ExitStack() as stack:
            self._probe = self._open_probe(stack)
            baseline = self._start([])
            stack.callback(baseline.close)
            self._begin(baseline)
            champion = baseline
            for rung in self.setup.rungs[1:]:
                champion = self._climb_rung(rung, champion, baseline)
                if champion is not baseline:
                    stack.callback(champion.close)
            self._final_duels(champion, baseline)
        self.record = msgspec.structs.replace(
            self.record, finished=True, findings=climb_findings(self.record)
        )
        self._save()
        return self.record

    def _begin(self, baseline: Candidate) -> None:
        """Prepare the baseline, make the reference that all are verified against, and time it."""
        self._notify(f"{BASELINE}: load and warm up")
        try:
            baseline.prepare(self._preparation([]))
            self._notify(f"{BASELINE}: write the reference")
            path = self.setup.folder.scratch / "baseline.safetensors"
            batch = self.setup.context.workload.batch_size
            once_s = baseline.make_reference(path, batch)
            rounds = max(1, min(self._windows // batch, int(REFERENCE_BUDGET_S / once_s)))
            self._windows = rounds * batch
            if rounds > 1:
                baseline.make_reference(path, self._windows)
            baseline.reference = path
            earlier = self._result_of(BASELINE)
            if earlier is not None:
                self._timed_tokens = earlier.samples[-1].timed_tokens or self._timed_tokens
                self._prompts_per_run = prompts_per_run(earlier.samples[-1])
                self._foretell_acceptance(baseline, path)
            else:
                self._notify(f"{BASELINE}: time")
                first = self._timed(baseline, 0)
                self._shorten_slow_runs(first)
                self._prompts_per_run = prompts_per_run(first)
                samples = [self._timed(baseline, number) for number in range(1, BASELINE_RUNS)]
                self._foretell_acceptance(baseline, path)
                self._add_baseline(baseline, [first, *samples])
        except WorkerFailure as failure:
            raise InputError(
                f"the baseline {failure.message}.",
                f"See {self.setup.folder.logs}; try fewer tokens or a smaller model.",
            ) from None

    def _foretell_acceptance(self, baseline: Candidate, reference: Path) -> None:
        """What speculation would accept of the baseline's own text, for the predictions."""
        self.results.acceptance = baseline.call(
            "acceptance",
            path=str(reference),
            timed_tokens=self._timed_tokens,
        )

    def _shorten_slow_runs(self, first: RunSample) -> None:
        """Time fewer tokens of a slow model, so that there is time for pairs enough to decide."""
        new_tokens = self.setup.context.workload.new_tokens
        if first.total_s < SLOW_RUN_S or new_tokens < 2 * LEAST_TIMED_TOKENS:
            return
        self._timed_tokens = max(LEAST_TIMED_TOKENS, new_tokens // 4)
        doubt = Doubt(
            about="workload",
            sentence=(
                f"A run of the baseline takes {first.total_s:.1f} s, so the first "
                f"{self._timed_tokens} of {new_tokens} new tokens are timed and scaled to all."
            ),
            remedy="A later token reads a longer KV cache: TPOT is a little too low for all rungs.",
        )
        doubts = [*self.record.doubts, doubt]
        self.record = msgspec.structs.replace(self.record, doubts=doubts)

    def _add_baseline(self, baseline: Candidate, samples: list[RunSample]) -> None:
        outcome = Outcome(
            status="kept",
            reason="What users have today; every other rung is measured against it.",
            samples=samples,
        )
        prediction = self.results.predict([], [])
        self._add(self._outcome(self.setup.rungs[0], baseline, prediction, outcome))

    def _climb_rung(self, rung: Rung, champion: Candidate, baseline: Candidate) -> Candidate:
        """One rung; returns the champion after it."""
        champion_stack = [] if champion is baseline else champion.stack
        finished = self._result_of(rung.name)
        if finished is not None:
            return self._resume_champion(finished, champion)
        stack = stack_with(champion_stack, rung)
        reason = reason_to_skip(rung, stack, self.build, self.record.rungs)
        if reason is not None:
            self._add(self.results.plain(rung, stack, "skipped", reason))
            return champion
        prediction = self.results.predict(stack, champion_stack)
        candidate = self._start(stack)
        try:
            result = self._try(rung, candidate, champion, baseline, prediction)
        except BaseException:
            candidate.close()
            raise
        self._add(result)
        if result.status != "kept":
            candidate.close()
            return champion
        self._close_superseded(champion, candidate, baseline)
        return candidate

    def _close_superseded(
        self, champion: Candidate, candidate: Candidate, baseline: Candidate
    ) -> None:
        """End the workers that nothing runs against any more; each holds a model in memory."""
        former = [champion, *([self._exact] if self._exact is not None else [])]
        if class_of(candidate.stack) == "exact":
            self._exact = candidate
        for each in former:
            if each not in (baseline, self._exact):
                each.close()

    def _try(
        self,
        rung: Rung,
        candidate: Candidate,
        champion: Candidate,
        baseline: Candidate,
        prediction: Prediction,
    ) -> RungResult:
        """Measure; a rung whose worker fails is a result too. Its rival's death is not its fault:
        the rival is started again, and the rung gets a second chance."""
        try:
            return self._measure(rung, candidate, champion, baseline, prediction)
        except WorkerFailure as failure:
            if champion.alive:
                return self.results.failed(rung, candidate.stack, prediction, failure)
        try:
            for each in (champion, candidate):
                each.restart()
            champion.prepare(self._preparation([] if champion is baseline else champion.stack))
            return self._measure(rung, candidate, champion, baseline, prediction)
        except WorkerFailure as failure:
            return self.results.failed(rung, candidate.stack, prediction, failure)

    def _measure(
        self,
        rung: Rung,
        candidate: Candidate,
        champion: Candidate,
        baseline: Candidate,
        prediction: Prediction,
    ) -> RungResult:
        """Prepare, verify, then time against the champion; raises WorkerFailure."""
        self._notify(f"{rung.name}: build and warm up")
        candidate.prepare(self._preparation(candidate.stack))
        self._notify(f"{rung.name}: verify")
        verification = self._verify(rung, candidate, champion, baseline)
        if not verification.passed:
            return self._outcome(
                rung,
                candidate,
                prediction,
                Outcome(
                    status="rejected",
                    reason=f"The output is not right: {verification.reason}.",
                    verification=verification,
                ),
            )
        duel = self._duel(candidate, champion, rung.name)
        ratio = duel.ratio()
        verdict = self.setup.rule.verdict(ratio)
        interval = f"{ratio.median:.2f}× [{ratio.low:.2f}, {ratio.high:.2f}]"
        reasons = {
            "faster": f"{interval} as fast as {champion.label}.",
            "slower": f"Slower than {champion.label}: {interval}.",
            "no difference": f"No difference to {champion.label} beyond chance: {interval}.",
        }
        if verdict == "faster" and candidate.reference is None:
            self._keep_reference(candidate)
        return self._outcome(
            rung,
            candidate,
            prediction,
            Outcome(
                status="kept" if verdict == "faster" else "rejected",
                reason=reasons[verdict],
                verification=verification,
                duel=duel,
                rival=champion.label,
            ),
        )

    def _outcome(
        self, rung: Rung, candidate: Candidate, prediction: Prediction, outcome: Outcome
    ) -> RungResult:
        return self.results.tried(rung, candidate, prediction, outcome, self.record.rungs)

    # --- verification -----------------------------------------------------------------------

    def _verify(
        self, rung: Rung, candidate: Candidate, champion: Candidate, baseline: Candidate
    ) -> Verification:
        """Against the baseline under the class of the whole stack; an exact rung on top of an
        inexact stack also against that stack, whose tokens it must not change."""
        assert baseline.reference is not None
        text_bytes = sum(self.setup.texts.scored_bytes[: self._windows])
        whole_class = class_of(candidate.stack)
        found = candidate.verify(baseline.reference, whole_class, self.setup.max_loss, text_bytes)
        below = candidate.stack[:-1]
        inexact_below = class_of(below) == "near"
        if not found.passed or rung.output_class == "near" or not inexact_below:
            return found
        if champion.stack != below or champion.reference is None:
            return found
        own = candidate.verify(champion.reference, "exact", self.setup.max_loss, text_bytes)
        if own.passed:
            return found
        return msgspec.structs.replace(
            found, passed=False, reason=f"beside {champion.label}, {own.reason}"
        )

    def _keep_reference(self, candidate: Candidate) -> None:
        """An inexact champion is what later exact rungs are compared with."""
        if class_of(candidate.stack) == "near":
            path = self.setup.folder.scratch / f"{len(self.record.rungs)}.safetensors"
            candidate.make_reference(path, self._windows)
            candidate.reference = path

    # --- timing -----------------------------------------------------------------------------

    def _duel(self, candidate: Candidate, rival: Candidate, name: str) -> Duel[RunSample]:
        """Time both in turns on the same prompts, the bandwidth probed before each run."""
        counts = {candidate.label: 0, rival.label: 0}

        def run(of: Candidate) -> RunSample:
            sample = self._timed(of, counts[of.label])
            counts[of.label] += 1
            return sample

        self._notify(f"{name}: time against {rival.label}")
        return run_in_turns(
            lambda: run(rival),
            lambda: run(candidate),
            self.setup.rule,
            on_pair=lambda ratio: self._notify(
                f"{name}: pair {len(ratio.pairs)}, {ratio.median:.2f}× {rival.label}"
            ),
        )

    def _timed(self, candidate: Candidate, number: int) -> RunSample:
        """Run number `number`, over the next one or two prompts."""
        bandwidth = None
        if self._probe is not None:
            bandwidth = self._probe.read_bandwidth(0.03)
            self._probes.append(bandwidth)
        at_s = time.monotonic() - self._began
        first = number * self._prompts_per_run
        return mean_run(
            [
                candidate.run(first + offset, self._timed_tokens, at_s, bandwidth)
                for offset in range(self._prompts_per_run)
            ]
        )

    def _final_duels(self, champion: Candidate, baseline: Candidate) -> None:
        """The best, and the best exact where that is another, against the baseline in turns."""
        exact = self._exact or baseline
        self.record = msgspec.structs.replace(
            self.record, best=champion.label, best_exact=exact.label
        )
        if champion is not baseline and self.record.duel is None:
            duel = self._final_duel(champion, baseline)
            self.record = msgspec.structs.replace(self.record, duel=duel)
        if exact not in (champion, baseline) and self.record.exact_duel is None:
            duel = self._final_duel(exact, baseline)
            self.record = msgspec.structs.replace(self.record, exact_duel=duel)
        self._save()

    def _final_duel(self, candidate: Candidate, baseline: Candidate) -> DuelResult | None:
        try:
            duel = self._duel(candidate, baseline, candidate.label)
        except WorkerFailure as failure:
            reasons = {**self.record.reasons, "duel": failure.message}
            self.record = msgspec.structs.replace(self.record, reasons=reasons)
            return None
        return duel_result(candidate.label, duel)

    # --- workers ----------------------------------------------------------------------------

    def _start(self, stack: list[str]) -> Candidate:
        name = label_of(stack).replace(" + ", "+").replace(":", "-").replace("/", "-")[-120:]
        return Candidate(
            stack,
            self.setup.folder.logs / f"{name}.log",
            self.setup.context.workload.threads,
            self.setup.rung_timeout_s,
        )

    def _resume_champion(self, finished: RungResult, champion: Candidate) -> Candidate:
        """The champion after a rung that an earlier, interrupted climb had finished.

        Only the last kept one and the last exact one are needed again, and prepared.
        """
        if finished.status != "kept":
            return champion
        later = self.record.rungs[self.record.rungs.index(finished) + 1 :]
        kept = [each for each in later if each.status == "kept"]
        is_exact = class_of(finished.stack) == "exact"
        is_last_exact = is_exact and all(class_of(each.stack) == "near" for each in kept)
        if kept and not is_last_exact:
            return champion
        self._notify(f"{finished.name}: kept before the interruption")
        candidate = self._start(finished.stack)
        candidate.prepare(self._preparation(candidate.stack))
        self._keep_reference(candidate)
        if is_last_exact:
            self._exact = candidate
        return candidate

    def _preparation(self, stack: list[str]) -> Preparation:
        return msgspec.structs.replace(self.setup.preparation, transforms=stack)

    def _open_probe(self, stack: contextlib.ExitStack) -> BandwidthProbe | None:
        """A probe of the bandwidth at the model's size; none on a GPU or without a compiler."""
        from topout.errors import TopoutError

        workload = self.setup.context.workload
        if workload.device != "cpu":
            return None
        try:
            size = self.build.source.config.weight_bytes(workload.dtype)
            return stack.enter_context(BandwidthProbe(workload.threads, min(size, 256 << 20)))
        except TopoutError as error:
            reasons = {**self.record.reasons, "ceiling_bytes_per_s": str(error)}
            self.record = msgspec.structs.replace(self.record, reasons=reasons)
            return None

    def _notify(self, text: str) -> None:
        """Tell what happens now; the final duels count as one rung more."""
        self.setup.notify(text, len(self.record.rungs) / (len(self.setup.rungs) + 1))

    # --- the record -------------------------------------------------------------------------

    def _result_of(self, name: str) -> RungResult | None:
        return next((each for each in self.record.rungs if each.name == name), None)

    def _add(self, result: RungResult) -> None:
        if result.rival == BASELINE:
            rungs = list(self.record.rungs)
            rungs[0] = self.results.with_more_runs(rungs[0], result.rival_samples)
            self.record = msgspec.structs.replace(self.record, rungs=rungs)
        errors = [
            prediction_error(each.prediction, each.samples)
            for each in [*self.record.rungs, result]
            if each.status == "kept" and each.prediction is not None and each.samples
        ]
        self.record = msgspec.structs.replace(
            self.record,
            rungs=[*self.record.rungs, result],
            prediction_error=estimate(errors).median if errors else None,
        )
        self._save()
        self._notify(f"{result.name}: {result.status}. {result.reason}")

    def _save(self) -> None:
        doubt = drift_doubt(self._probes)
        kept: list[Doubt] = [each for each in self.record.doubts if "drifted" not in each.sentence]
        self.record = msgspec.structs.replace(
            self.record,
            elapsed_s=time.monotonic() - self._began,
            doubts=[*kept, doubt] if doubt is not None else kept,
        )
        try:
            self.setup.folder.save(self.record)
        except OutputError as error:
            self.write_error = error  # the climb goes on; the caller says so at the end
