"""The baseline: run before anything else, then timed, then asked what all rungs are held to."""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from topout.errors import InputError
from topout.generation.build import Preparation
from topout.generation.reference import Reference
from topout.ladder.announcements import first_figure
from topout.ladder.duel import Candidate, Timing
from topout.ladder.plan import Plan
from topout.ladder.state import ClimbFolder, ClimbState
from topout.measure.worker import WorkerFailure
from topout.records import Doubt, RunSample
from topout.rungs.registry import BASELINE

VERIFYING_BUDGET_S = 60.0  # of the baseline's own decode path, which sets the number of windows
BASELINE_RUNS = 3
_LEAST_BATCHES = 2  # of windows: prompts of two lengths


class Baseline:
    """The baseline of one climb; what ends its worker ends the climb, as an InputError."""

    def __init__(
        self,
        candidate: Candidate,
        plan: Plan,
        state: ClimbState,
        timing: Timing,
        notify: Callable[[str], None],
    ) -> None:
        self.windows = len(plan.texts.prompt_lens)  # that rungs are verified on
        self.untrained: str | None = None  # why held-out text says nothing of quality
        self._first_run: RunSample | None = None  # None where an interrupted climb has timed it
        self._candidate, self._plan, self._state = candidate, plan, state
        self._timing, self._notify = timing, notify

    def begin(self, preparation: Preparation) -> None:
        """Run it once, announce the figure, and fit the length of all later runs to it."""
        earlier = self._state.result_of(BASELINE)
        with _failures(self._state.folder):
            self._notify(f"{BASELINE}: load and warm up")
            self._candidate.prepare(preparation)
            if earlier is not None:
                self._timing.resume(earlier.samples[-1])
                return
            self._notify(f"{BASELINE}: time")
            self._first_run = self._timing.run(self._candidate, 0)
        self._plan.announce(first_figure(self._first_run, self._plan.workload))
        doubt = self._timing.fit_to(self._first_run)
        if doubt is not None:
            self._state.add_doubt(doubt)

    def measure(self) -> list[RunSample]:
        """Time it some more and make its reference; no runs where they are on record."""
        samples = []
        with _failures(self._state.folder):
            if self._first_run is not None:
                self._notify(f"{BASELINE}: time")
                more = (self._timing.run(self._candidate, n) for n in range(1, BASELINE_RUNS))
                samples = [self._first_run, *more]
            self._notify(f"{BASELINE}: write the reference")
            self._candidate.reference = self._make_first_reference()
            if self._plan.workload.task == "generate":
                self.untrained = self._reason_untrained()
        return samples

    def acceptance(self) -> dict[str, float]:
        """Rung → tokens per pass that speculation would yield on the baseline's own output."""
        with _failures(self._state.folder):
            found: dict[str, float] = self._candidate.call(
                "acceptance",
                path=str(self._candidate.reference),
                timed_tokens=self._timing.timed_tokens,
            )
        return found

    def make_reference(self, of: Candidate, path: Path) -> float:
        """Have a candidate write its own reference on the same windows; returns the seconds."""
        texts = self._plan.texts
        return of.make_reference(path, texts.prompt_lens[: self.windows], texts.scored_tokens)

    def _make_first_reference(self) -> Path:
        """Of all windows, cut to as many as there is time for in each rung."""
        path = self._state.folder.scratch / "baseline.safetensors"
        once_s = self.make_reference(self._candidate, path)
        if self._plan.workload.task == "forward":
            return path
        # About half of it was for scoring a batch step by step, as every rung does with each.
        affordable = max(_LEAST_BATCHES, int(VERIFYING_BUDGET_S / (once_s / 2)))
        affordable *= self._plan.workload.batch_size
        if affordable < self.windows:
            self.windows = affordable
            Reference.load(path).first(affordable).save(path)
        return path

    def _reason_untrained(self) -> str | None:
        """Weights that know nothing of the text lose at least what guessing evenly would."""
        source = self._plan.build.source
        if source.origin == "random":
            return "the weights are random"
        loss = self._plan.quality.baseline_loss(self._candidate)
        if loss < math.log(source.config.vocab_size):
            return None
        reason = (
            f"the baseline's perplexity of held-out text is {math.exp(loss):.4g}, and guessing "
            f"evenly among its {source.config.vocab_size} tokens gives no more"
        )
        self._state.add_doubt(
            Doubt(
                about="quality",
                sentence=f"{reason[0].upper()}{reason[1:]}: the model is not made for this text.",
                remedy="Check the checkpoint and its tokenizer, or give a --text of its kind.",
            )
        )
        return reason


@contextlib.contextmanager
def _failures(folder: ClimbFolder) -> Iterator[None]:
    """Without a baseline there is nothing to climb from: what ends its worker is an InputError."""
    try:
        yield
    except WorkerFailure as failure:
        if failure.kind == "input":
            raise InputError(failure.message) from None
        raise InputError(
            f"the baseline {failure.message}.",
            f"See {folder.logs}; try fewer tokens or a smaller model.",
        ) from None
