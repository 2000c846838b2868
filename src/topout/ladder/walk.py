"""The climb, rung by rung: predicted, built, verified, timed against the best so far, judged.

Read `Walk` from the top: `begin` runs the baseline for the first time, `climb` walks over the
ladder, `_climb_rung` is the way of one rung.
"""

import contextlib
from collections.abc import Sequence

import msgspec

from topout.cost.predict import Context
from topout.errors import TopoutError
from topout.generation.build import Build, Preparation
from topout.generation.quality import judged_by_distance, judged_by_loss
from topout.generation.session_process import worker_environment
from topout.ladder.announcements import rung_line
from topout.ladder.baseline import Baseline
from topout.ladder.duel import Candidate, Timing
from topout.ladder.findings import chain_doubt
from topout.ladder.plan import Plan
from topout.ladder.predictions import Predictions
from topout.ladder.stack import Stack
from topout.ladder.state import ClimbState
from topout.ladder.verdict import Trial, duel_result, judge, tried, untried, with_more_runs
from topout.machine.native_ceilings import BandwidthProbe
from topout.measure.disturbance import disturbance_doubts
from topout.measure.fork_server import ForkServer
from topout.measure.process import Closing
from topout.measure.runner import Duel
from topout.measure.worker import WorkerFailure
from topout.models.config import DTYPE_BYTES
from topout.models.pass_config import parameters_of
from topout.records import RungResult, RunSample, Verification
from topout.rungs.compile import Compile
from topout.rungs.registry import BASELINE
from topout.rungs.rung import Rung

# What takes seconds to import, and computes nothing in it.
SHARED_MODULES = ("topout.generation.session_worker", "topout.ladder.acceptance")
COMPILER_MODULES = (
    "torch._dynamo",
    "torch._functorch.aot_autograd",
    "torch._inductor.compile_fx",
    "torch._inductor.codegen.cpp",
)
_MOST_PROBED_BYTES = 256 << 20


class Walk(Closing):
    """One climb under way; rungs whose results are in its state are not measured again.

    Use it in a `with` block: no worker outlives it.
    """

    exact: Candidate  # the best exact stack, kept for the final duel
    _predictions: Predictions

    def __init__(self, plan: Plan, state: ClimbState) -> None:
        self.plan = plan
        self.state = state
        self._timing = Timing(plan.workload.new_tokens, state.elapsed_s)
        self._held = contextlib.ExitStack()
        self._servers: dict[bool, ForkServer] = {}  # by whether what is forked compiles
        self.baseline = self._start(Stack(task=plan.workload.task))
        self._baseline = Baseline(self.baseline, plan, state, self._timing, self._notify)

    @property
    def _runs_once(self) -> bool:
        """Whether nothing is generated: outputs of one pass are compared, and judged by that."""
        return self.plan.workload.task == "forward"

    def close(self) -> None:
        """End all workers."""
        self._held.close()

    def begin(self) -> None:
        """Run the baseline once, before anything that predictions need is measured."""
        self._baseline.begin(self._preparation(self.baseline.stack))

    def climb(self, context: Context) -> None:
        """Climb all rungs; an interruption leaves what was finished in the state and on disk."""
        self._predictions = Predictions(self.plan.build, context)
        self._timing.probe = self._open_probe()
        self.exact = champion = self.baseline
        self._climb_baseline()
        for rung in self.plan.rungs[1:]:
            champion = self._climb_rung(rung, champion)
        self._final_duels(champion)
        self.state.finish()
        self._save()

    def _climb_baseline(self) -> None:
        """Time it, and make what all rungs are verified against."""
        samples = self._baseline.measure()
        if not self._runs_once:
            # What speculation would accept of the baseline's own text, for the predictions.
            self._predictions.acceptance = self._baseline.acceptance()
        if samples:
            prediction = self._predictions.predict(self.baseline.stack, self.baseline.stack)
            self._add(Trial(self.plan.rungs[0], self.baseline, prediction, samples=samples))

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
        text_bytes = sum(self.plan.texts.scored_bytes[: self._baseline.windows])
        is_near = trial.rung.output_class == "near"
        if not is_near and stack.below == champion.stack and champion.reference is not None:
            found = candidate.verify(champion.reference, "exact", max_loss, text_bytes)
            label = None if champion is self.baseline else champion.label
            return msgspec.structs.replace(found, against=label)
        assert self.baseline.reference is not None
        found = candidate.verify(self.baseline.reference, stack.output_class, max_loss, text_bytes)
        if not found.passed or stack.output_class == "exact" or self._runs_once:
            return found
        if self._baseline.untrained is not None:
            return judged_by_distance(found, max_loss, self._baseline.untrained)
        self._notify(f"{trial.rung.name}: score held-out text")
        quality = self.plan.quality.judge(candidate, self.baseline, max_loss)
        return judged_by_loss(found, quality)

    def _is_acceptable(self, found: Verification) -> bool:
        return found.passed or (found.verdict == "not proven" and self.plan.accept_unproven)

    def _keep_reference(self, candidate: Candidate) -> None:
        """An inexact champion is what later exact rungs are compared with."""
        if candidate.stack.output_class == "near":
            path = self.state.folder.scratch / f"{len(self.state.record.rungs)}.safetensors"
            self._baseline.make_reference(candidate, path)
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
        task = self.plan.workload.task
        stack = Stack.of(finished.stack, task)
        rungs = self.state.record.rungs
        later = [each for each in rungs[rungs.index(finished) + 1 :] if each.status == "kept"]
        is_last_exact = stack.output_class == "exact" and all(
            Stack.of(each.stack, task).output_class == "near" for each in later
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
        threads = self.plan.workload.threads
        logs, timeout_s = self.state.folder.logs, self.plan.rung_timeout_s
        candidate = Candidate(stack, logs, threads, timeout_s, self._server_for(stack))
        self._held.callback(candidate.close)
        return candidate

    def _server_for(self, stack: Stack) -> ForkServer | None:
        """What a stack's worker is forked from; None for the baseline, and beside a GPU.

        Stacks that compile have one of their own: what a worker inherits counts as its memory. A
        GPU's context would not live through a fork.
        """
        workload = self.plan.workload
        if not stack.rungs or workload.device != "cpu" or not ForkServer.is_possible():
            return None
        compiles = Compile.name in stack.names
        if compiles not in self._servers:
            server = ForkServer(
                [*SHARED_MODULES, *(COMPILER_MODULES if compiles else ())],
                self.state.folder.logs / "fork-server.log",
                environment=worker_environment(workload.threads),
            )
            self._servers[compiles] = self._held.enter_context(server)
        return self._servers[compiles]

    def _preparation(self, stack: Stack) -> Preparation:
        return msgspec.structs.replace(self.plan.preparation, transforms=stack.names)

    def _open_probe(self) -> BandwidthProbe | None:
        """A probe of the bandwidth at the model's size; none on a GPU or without a compiler."""
        workload = self.plan.workload
        if workload.device != "cpu":
            return None
        size = parameters_of(self.plan.build.source.config) * DTYPE_BYTES[workload.dtype]
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
        self.plan.announce(rung_line(result))

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
