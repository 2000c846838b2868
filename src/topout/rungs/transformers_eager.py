"""The baseline: `generate` as transformers runs it, which is what users have today."""

from topout.cost.predict import Expectation
from topout.generation.build import Build
from topout.rungs.rung import Rung


class TransformersEager(Rung):
    """The bottom of the ladder."""

    name = "transformers_eager"
    change = "nothing: `generate` of transformers with its own KV cache, eager PyTorch"

    def expect(self, expectation: Expectation, build: Build) -> Expectation:
        """Every op is called from Python, and the cache is copied to grow by each token."""
        return expectation.replace(
            mode="transformers_eager",
            kv_copies=1.0,
            gelu_passes=8 if build.source.config.activation == "gelu_tanh" else 1,
        )
