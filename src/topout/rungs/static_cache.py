"""Our plain decoder over a KV cache that is allocated once."""

from topout.cost.predict import Expectation
from topout.generation.build import Build
from topout.rungs.rung import Rung


class StaticCacheRung(Rung):
    """Replaces transformers' model and loop by the plain decoder and a preallocated cache."""

    name = "static_cache"
    change = (
        "the plain decoder with fused Q, K, V and a KV cache allocated once: no copy of the cache "
        "per token, fewer ops per layer"
    )

    def expect(self, expectation: Expectation, build: Build) -> Expectation:
        """Fewer ops per layer, and a token writes one position of the cache instead of all."""
        return expectation.replace(mode="decoder_eager", kv_copies=0.0, gelu_passes=1)

    def configure(self, build: Build) -> None:
        """Build the plain decoder in the place of transformers' model."""
        build.backend = "decoder"
