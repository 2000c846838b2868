"""What the cost model expects of a stack before it runs."""

from topout.cost.predict import Context, Expectation, predict, predict_one_pass
from topout.generation.build import Build
from topout.ladder.stack import Stack
from topout.models.config import ModelConfig
from topout.models.pass_config import PassConfig
from topout.records import Prediction
from topout.rungs.registry import BASELINE, find_rung


class Predictions:
    """Predicts the stacks of one climb; `acceptance` is filled in once it is known."""

    def __init__(self, build: Build, context: Context) -> None:
        self.build = build
        self.context = context
        self.acceptance: dict[str, float] = {}  # rung → tokens per pass
        self.acceptance_is_of = "the baseline's own output"

    @property
    def config(self) -> ModelConfig | PassConfig:
        """The model's."""
        return self.build.source.config

    def predict(self, stack: Stack, rival: Stack) -> Prediction:
        """Times of prefill and decode, or of the pass, and the speedup over a rival's."""
        return self._predict(stack, self._predict(rival, None).total_s)

    def _predict(self, stack: Stack, rival_s: float | None) -> Prediction:
        expectation = self.expectation(stack)
        if isinstance(self.config, PassConfig):
            return predict_one_pass(self.config, expectation, self.context, rival_s)
        return predict(self.config, expectation, self.context, rival_s)

    def expectation(self, stack: Stack) -> Expectation:
        """What the rungs of a stack tell the cost model."""
        expectation = Expectation(
            dtype=self.context.workload.dtype,
            acceptance=self.acceptance,
            acceptance_is_of=self.acceptance_is_of,
        )
        for rung in (find_rung(BASELINE), *stack.rungs):
            expectation = rung.expect(expectation, self.build)
        return expectation
