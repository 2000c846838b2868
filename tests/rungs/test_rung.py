"""What a session is built from, and what a rung does that overrides nothing."""

from pathlib import Path

from tests.generation.tiny_builds import build_of
from tests.models.tiny import GPT2, make_source
from topout.cost.predict import Expectation
from topout.generation.steps import DecoderSteps
from topout.models.load import load_decoder
from topout.rungs.rung import Rung


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
