"""Candidates, and how two of them are timed in turns."""

from collections.abc import Callable
from pathlib import Path

from topout.generation.placement import mean_run
from topout.generation.session_process import SessionProcess
from topout.ladder.stack import Stack
from topout.machine.native_ceilings import BandwidthProbe
from topout.measure.disturbance import WATCH
from topout.measure.fork_server import ForkServer
from topout.measure.runner import Duel, StoppingRule, run_in_turns
from topout.records import Doubt, PairedRatio, RunSample

WORKER_MODULE = "topout.ladder.worker"
SLOW_RUN_S = 2.5  # a baseline's run from here on is timed over fewer tokens
LEAST_TIMED_TOKENS = 16
FAST_RUN_S = 1.0  # a baseline's run below this is made of two prompts
PASSES_S, MOST_PASSES = 0.25, 50  # that a run of single passes takes, and is made of


class Candidate(SessionProcess):
    """One stack of rungs in a worker process."""

    def __init__(
        self,
        stack: Stack,
        logs: Path,
        threads: int,
        timeout_s: float,
        server: ForkServer | None = None,
    ) -> None:
        name = stack.label.replace(" + ", "+").replace(":", "-").replace("/", "-")[-120:]
        super().__init__(WORKER_MODULE, logs / f"{name}.log", threads, timeout_s, server)
        self.stack = stack
        self.label = stack.label
        self.reference: Path | None = None  # what it says itself, where others are held to that


class Timing:
    """How the runs of one climb are timed: over how many tokens and prompts, and beside what."""

    def __init__(self, new_tokens: int, clock: Callable[[], float]) -> None:
        self.new_tokens = self.timed_tokens = new_tokens
        self.prompts_per_run = 1
        self.probe: BandwidthProbe | None = None
        self.bandwidths: list[float] = []  # bytes per second, as probed before each run
        self._clock = clock  # seconds since the climb began

    def fit_to(self, baseline: RunSample) -> Doubt | None:
        """Fit a run's length to how long the baseline's first one took.

        A slow model is timed over fewer tokens, so that there is time for pairs enough to decide,
        which is a doubt; a fast one over two prompts, since what speculation gains depends on the
        text.
        """
        self.prompts_per_run = prompts_per_run(baseline)
        if baseline.total_s < SLOW_RUN_S or self.new_tokens < 2 * LEAST_TIMED_TOKENS:
            return None
        self.timed_tokens = max(LEAST_TIMED_TOKENS, self.new_tokens // 4)
        return Doubt(
            about="workload",
            sentence=(
                f"A run of the baseline takes {baseline.total_s:.1f} s, so the first "
                f"{self.timed_tokens} of {self.new_tokens} new tokens are timed and scaled to all."
            ),
            remedy="A later token reads a longer KV cache: TPOT is a little too low for all rungs.",
        )

    def resume(self, earlier: RunSample) -> None:
        """Time as an interrupted climb did."""
        self.timed_tokens = earlier.timed_tokens or self.new_tokens
        self.prompts_per_run = prompts_per_run(earlier)

    def run(self, candidate: Candidate, number: int) -> RunSample:
        """Run number `number`, over the next one or two prompts; raises WorkerFailure."""
        bandwidth = None
        if self.probe is not None:
            bandwidth = self.probe.read_bandwidth(0.03)
            self.bandwidths.append(bandwidth)
        at_s = self._clock()
        first = number * self.prompts_per_run
        prompts = range(first, first + self.prompts_per_run)
        return mean_run(
            [candidate.run(prompt, self.timed_tokens, at_s, bandwidth) for prompt in prompts]
        )

    def duel(
        self,
        candidate: Candidate,
        rival: Candidate,
        rule: StoppingRule,
        on_pair: Callable[[PairedRatio], None],
    ) -> Duel[RunSample]:
        """Time both in turns on the same prompts; raises WorkerFailure."""
        counts = {candidate.label: 0, rival.label: 0}

        def run(of: Candidate) -> RunSample:
            sample = self.run(of, counts[of.label])
            counts[of.label] += 1
            return sample

        return run_in_turns(
            lambda: run(rival), lambda: run(candidate), rule, watch=WATCH, on_pair=on_pair
        )


def prompts_per_run(of_baseline: RunSample) -> int:
    """Two prompts where time allows; of single passes as many as take `PASSES_S` together."""
    if of_baseline.new_tokens == 0:
        return max(1, min(MOST_PASSES, round(PASSES_S / of_baseline.total_s)))
    return 2 if of_baseline.total_s < FAST_RUN_S else 1
