"""The rung that puts the plain decoder in the place of transformers' model."""

from pathlib import Path

from tests.generation.tiny_builds import build_of, session_of
from tests.models.tiny import GPT2, make_source
from topout.generation.session import DecoderSession
from topout.rungs.registry import find_rung
from topout.rungs.static_cache import StaticCacheRung


def test_it_takes_back_what_the_baseline_costs(tmp_path: Path) -> None:
    from topout.cost.predict import Expectation

    build = build_of(make_source(tmp_path, GPT2), tmp_path)
    baseline = find_rung("transformers_eager").expect(Expectation(), build)
    found = StaticCacheRung().expect(baseline, build)
    assert (found.mode, found.kv_copies, found.gelu_passes) == ("decoder_eager", 0.0, 1)


def test_it_makes_a_session_of_the_plain_decoder(tmp_path: Path) -> None:
    session = session_of(make_source(tmp_path, GPT2), tmp_path, ["static_cache"])
    assert isinstance(session, DecoderSession)
