"""The baseline: what transformers runs, `generate` or one pass, which is what users have today."""

from topout.cost.predict import Expectation
from topout.generation.build import Build
from topout.models.pass_config import PassConfig
from topout.rungs.rung import Rung


class TransformersEager(Rung):
    """The bottom of the ladder."""

    name = "transformers_eager"
    change = "nothing: `generate` of transformers with its own KV cache, eager PyTorch"
    tasks = ("generate", "forward")

    def expect(self, expectation: Expectation, build: Build) -> Expectation:
        """Every op is called from Python, and the cache is copied to grow by each token."""
        config = build.source.config
        if isinstance(config, PassConfig):
            return expectation.replace(mode="transformers_eager")
        return expectation.replace(
            mode="transformers_eager",
            kv_copies=1.0,
            gelu_passes=8 if config.activation == "gelu_tanh" else 1,
        )
