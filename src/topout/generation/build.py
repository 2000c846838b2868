"""From a stack of rungs to a session that generates."""

from collections.abc import Sequence

from torch import nn

from topout.generation.session import DecoderSession, Session
from topout.generation.steps import DecoderSteps, Steps
from topout.models.load import load_decoder, load_transformers
from topout.rungs.registry import find_rung
from topout.rungs.rung import Build, memory_bytes_of
from topout.rungs.static_cache import StaticCacheRung
from topout.rungs.transformers_eager import TransformersSession

STATIC_CACHE = StaticCacheRung.name


def build_session(build: Build, stack: Sequence[str]) -> Session:
    """Build the model under a stack of rungs (names, bottom first); none is the baseline."""
    build.stack = [find_rung(name) for name in stack]
    for rung in build.stack:
        rung.configure(build)
    session = _plain_session(build)
    for rung in build.stack:
        session = rung.transform_session(session, build)
    return session


def _plain_session(build: Build) -> Session:
    device = str(build.device)
    if STATIC_CACHE not in {rung.name for rung in build.stack}:
        model = load_transformers(build.source, dtype=build.dtype, device=device)
        return TransformersSession(model, build.sampling, build.device)
    decoder = load_decoder(build.source, dtype=build.dtype, device=device, max_len=build.cache_len)
    for rung in build.stack:
        decoder = rung.transform_model(decoder, build)
    steps: Steps = DecoderSteps(decoder, build.workload.batch_size, build.cache_len)
    for rung in build.stack:
        steps = rung.transform_steps(steps, build)
    return DecoderSession(steps, build.sampling, build.device, memory_bytes_of(decoder))


def module_of(session: Session) -> nn.Module:
    """The model behind a session, of whichever backend."""
    if isinstance(session, DecoderSession):
        return session.steps.model
    assert isinstance(session, TransformersSession)
    module: nn.Module = session.model
    return module
