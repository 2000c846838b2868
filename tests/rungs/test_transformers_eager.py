"""What the cost model hears of the baseline."""

from pathlib import Path

import pytest

from tests.generation.tiny_builds import MODELS, build_of, source_of
from topout.cost.predict import Expectation
from topout.rungs.transformers_eager import TransformersEager


@pytest.mark.parametrize("model", list(MODELS))
def test_the_cost_model_hears_of_its_copies(model: str, tmp_path: Path) -> None:
    source = source_of(tmp_path, model)
    found = TransformersEager().expect(Expectation(), build_of(source, tmp_path))
    assert (found.mode, found.kv_copies) == ("transformers_eager", 1.0)
    # GPT-2's activation is composed of several ops, that of Llama is one.
    assert found.gelu_passes == (8 if source.config.activation == "gelu_tanh" else 1)
