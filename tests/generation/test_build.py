"""The hooks of transforms are called from the bottom up, each at its time."""

from pathlib import Path

import pytest
import torch

from tests.generation.tiny_builds import build_of, session_of
from tests.models.tiny import GPT2, make_source, make_tokens
from topout.generation.build import Build, Transform, build_session
from topout.generation.sampling import Sampling
from topout.generation.session import DecoderSession, Session, TransformersSession
from topout.generation.steps import DecoderSteps, Steps
from topout.models.decoder import Decoder
from topout.models.source import ModelSource
from topout.rungs.static_cache import StaticCacheRung

CALLS: list[str] = []


class First(Transform):
    """Notes when it is called."""

    label = "first"

    def configure(self, build: Build) -> None:
        CALLS.append(f"{self.label} configure")

    def transform_model(self, model: Decoder, build: Build) -> Decoder:
        CALLS.append(f"{self.label} model")
        return model

    def transform_steps(self, steps: Steps, build: Build) -> Steps:
        CALLS.append(f"{self.label} steps")
        return steps

    def transform_session(self, session: Session, build: Build) -> Session:
        CALLS.append(f"{self.label} session")
        return session


class Second(First):
    """Another one."""

    label = "second"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return make_source(tmp_path_factory.mktemp("model"), GPT2)


def test_hooks_from_the_bottom_up(source: ModelSource, tmp_path: Path) -> None:
    CALLS.clear()
    build = build_of(source, tmp_path)
    transforms = [First(), StaticCacheRung(), Second()]
    build_session(build, transforms)
    hooks = ("configure", "model", "steps", "session")
    expected = [f"{label} {hook}" for hook in hooks for label in ("first", "second")]
    assert expected == CALLS
    assert build.transforms == tuple(transforms)


def test_without_the_static_cache_it_is_transformers(source: ModelSource, tmp_path: Path) -> None:
    CALLS.clear()
    session = build_session(build_of(source, tmp_path), [First()])
    assert isinstance(session, TransformersSession)
    assert CALLS == ["first configure", "first session"]  # there is no decoder to transform


@pytest.mark.parametrize("stack", [["bf16"], ["static_cache", "bf16"]])
def test_bf16_reaches_the_weights_and_the_cache(
    stack: list[str], source: ModelSource, tmp_path: Path
) -> None:
    session = session_of(source, tmp_path, stack)
    if isinstance(session, DecoderSession):
        assert isinstance(session.steps, DecoderSteps)
        assert session.steps.cache.keys[0].dtype == torch.bfloat16
        assert session.steps.cache.max_len == 20 + 24 + 5
        weights = session.steps.model
    else:
        assert isinstance(session, TransformersSession)
        weights = session.model
    assert {each.dtype for each in weights.parameters()} == {torch.bfloat16}
    prompt = make_tokens(source.config.vocab_size, 1, 20)
    assert session.generate(prompt, 4).tokens.shape == (1, 4)


def test_a_cache_has_room_for_proposals_beyond_the_end(tmp_path: Path) -> None:
    build = build_of(make_source(tmp_path, GPT2), tmp_path, prompt_len=20, new_tokens=24)
    # Four proposals after the last token but one, and the token before them.
    assert build.cache_len == 20 + 24 + 5


def test_a_build_says_where_and_how(tmp_path: Path) -> None:
    build = build_of(make_source(tmp_path, GPT2), tmp_path, temperature=0.5, top_k=3, dtype="bf16")
    assert build.sampling == Sampling(temperature=0.5, top_k=3)
    assert build.device == torch.device("cpu")
    assert build.dtype == torch.bfloat16
