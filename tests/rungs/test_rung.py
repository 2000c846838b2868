"""What a session is built from, and what a rung does that overrides nothing."""

from pathlib import Path

import torch
from torch import nn

from tests.generation.tiny_builds import build_of
from tests.models.tiny import GPT2, make_source
from topout.cost.predict import Expectation
from topout.generation.sampling import Sampling
from topout.generation.steps import DecoderSteps
from topout.models.load import load_decoder
from topout.rungs.rung import Rung, memory_bytes_of


class Nothing(Rung):
    """Overrides nothing."""

    name = "nothing"
    change = "nothing"


def test_a_rung_that_overrides_nothing_changes_nothing(tmp_path: Path) -> None:
    build, rung = build_of(make_source(tmp_path, GPT2), tmp_path), Nothing()
    model = load_decoder(build.source)
    steps = DecoderSteps(model, 1, 8)
    session = object()
    rung.configure(build)
    assert rung.transform_model(model, build) is model
    assert rung.transform_steps(steps, build) is steps
    assert rung.transform_session(session, build) is session  # type: ignore[arg-type, comparison-overlap]
    assert rung.reason_to_skip(build) is None
    assert rung.expect(Expectation(), build) == Expectation()
    assert (rung.output_class, rung.requires, rung.excludes) == ("exact", (), ())


def test_a_cache_has_room_for_proposals_beyond_the_end(tmp_path: Path) -> None:
    build = build_of(make_source(tmp_path, GPT2), tmp_path, prompt_len=20, new_tokens=24)
    # Four proposals after the last token but one, and the token before them.
    assert build.cache_len == 20 + 24 + 5


def test_a_build_says_where_and_how(tmp_path: Path) -> None:
    build = build_of(make_source(tmp_path, GPT2), tmp_path, temperature=0.5, top_k=3, dtype="bf16")
    assert build.sampling == Sampling(temperature=0.5, top_k=3)
    assert build.device == torch.device("cpu")
    assert build.dtype == torch.bfloat16


def test_memory_is_that_of_parameters_and_buffers() -> None:
    layer = nn.Linear(8, 4)  # 32 weights and 4 biases in fp32
    layer.register_buffer("scales", torch.zeros(6, dtype=torch.bfloat16))
    assert memory_bytes_of(layer) == (32 + 4) * 4 + 6 * 2


def test_shared_storage_is_counted_once() -> None:
    tied, other = nn.Linear(8, 4, bias=False), nn.Linear(8, 4, bias=False)
    other.weight = tied.weight
    both = nn.ModuleList([tied, other])
    both.register_buffer("view", tied.weight.data[:2])
    assert memory_bytes_of(both) == 8 * 4 * 4
