"""Compiled steps against the eager ones."""

import os
from pathlib import Path

import pytest
import torch

from tests.generation.tiny_builds import build_of
from tests.models.tiny import GPT2, make_source, make_tokens
from topout.cost.predict import Expectation
from topout.errors import CompilerError
from topout.generation.steps import DecoderSteps
from topout.kernels import build as kernel_build
from topout.models.load import load_decoder
from topout.rungs.compile import Compile, CompiledSteps, compile_mode, plain_copy

pytestmark = pytest.mark.seconds(40)


def test_compiled_steps_equal_eager_steps(tmp_path: Path, inductor: None) -> None:
    """A prefill, single tokens, and a chunk that is taken back: one model, three graphs."""
    from torch._dynamo.utils import counters

    source = make_source(tmp_path, GPT2 | {"n_layer": 1})
    tokens = make_tokens(source.config.vocab_size, 1, 24)
    eager = DecoderSteps(load_decoder(source), 1, 30)
    compiled = CompiledSteps(DecoderSteps(load_decoder(source), 1, 30))
    counters.clear()

    def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)

    with torch.inference_mode():
        for shift in (0, 5):  # a second prompt forgets the first
            text = (tokens + shift) % source.config.vocab_size
            assert_same(compiled.prefill(text[:, :12]), eager.prefill(text[:, :12]))
            for at in range(12, 16):
                token = text[:, at : at + 1]
                assert_same(compiled.decode_one_token(token, at), eager.decode_one_token(token, at))
            wrong = (text[:, 16:19] + 1) % source.config.vocab_size
            assert_same(compiled.extend(wrong, 16), eager.extend(wrong, 16))
            right = text[:, 16:19]
            assert_same(compiled.extend(right, 16), eager.extend(right, 16))
    assert counters["stats"]["unique_graphs"] == 3
    assert not counters["graph_break"]


def test_graphs_are_kept_where_only_this_user_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process as well, where a loaded model runs."""
    monkeypatch.setenv("TOPOUT_CACHE", str(tmp_path / "cache"))
    steps = DecoderSteps(load_decoder(make_source(tmp_path, GPT2 | {"n_layer": 1})), 1, 8)
    for named in ("", str(tmp_path / "open")):
        (tmp_path / "open").mkdir(exist_ok=True)
        (tmp_path / "open").chmod(0o777)
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", named)
        CompiledSteps(steps)
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache" / "inductor")


def test_a_copy_has_the_strides_of_a_fresh_tensor() -> None:
    """Strides are guarded, and a slice of a longer text would be compiled anew."""
    text = torch.arange(20).reshape(1, 20)
    for part in (text[:, 3:4], text[:, 5:9], text.t()[:1]):
        found = plain_copy(part)
        assert torch.equal(found, part)
        assert found.stride() == torch.empty(part.shape).stride()


def test_graphs_of_a_gpu_are_replayed() -> None:
    assert compile_mode(torch.device("cuda")) == "reduce-overhead"
    assert compile_mode(torch.device("cpu")) is None


def test_it_is_skipped_where_nothing_can_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source(tmp_path, GPT2)

    def find_compiler() -> None:
        raise CompilerError("no C++ compiler was found.", "Install g++.")

    monkeypatch.setattr(kernel_build, "find_compiler", find_compiler)
    reason = Compile().reason_to_skip(build_of(source, tmp_path))
    assert reason is not None and "no C++ compiler was found" in reason
    assert Compile().reason_to_skip(build_of(source, tmp_path, device="cuda")) is None


def test_the_cost_model_hears_of_one_call_and_a_whole_mask(tmp_path: Path) -> None:
    build = build_of(make_source(tmp_path, GPT2), tmp_path)
    found = Compile().expect(Expectation(), build)
    assert (found.mode, found.reads_whole_cache) == ("decoder_compiled", True)
