"""One pass under each rung: its outputs beside the baseline's, and wrong ones found out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.models.tiny_passes import PASSES, pass_input
from topout.errors import WeightsError
from topout.generation.pass_outputs import PassReference, make_pass_reference, verify_pass
from topout.generation.pass_session import PassSession, positions_of
from topout.records import Verification
from topout.rungs.registry import find_rung, rung_names

from .tiny_passes import pass_session

FORWARD = [name for name in rung_names("forward") if name != "transformers_eager"]


def reference_of(session: PassSession, name: str, count: int = 32) -> PassReference:
    return make_pass_reference(session, pass_input(name, count), 2)


def check(session: PassSession, reference: PassReference, **changes: Any) -> Verification:
    options: dict[str, Any] = {
        "output_class": "exact",
        "max_loss": 0.01,
        "batch_size": 2,
        "gives_logits": session.gives_logits,
    }
    return verify_pass(session, reference, **(options | changes))


@pytest.mark.parametrize("name", ["bert", "roberta_words", "vit", "resnet"])
@pytest.mark.parametrize("rung", [name for name in FORWARD if name != "compile"])
def test_each_rung_is_right_on_each_kind_of_model(rung: str, name: str, tmp_path: Path) -> None:
    reference = reference_of(pass_session(tmp_path, name), name)
    found = check(
        pass_session(tmp_path, name, [rung]),
        reference,
        output_class=find_rung(rung).output_class,
        max_loss=0.3,  # tiny models of random weights lose more than trained ones
    )
    assert found.passed and found.verdict == "right", found.reason
    assert found.positions == 32 * (9 if name in ("bert", "roberta_words") else 1)
    assert found.max_logit_error is not None and found.rounding_noise is not None
    if PASSES[name][1].endswith("Model"):
        assert found.cosine_distance is not None and found.kl_divergence is None
    else:
        assert found.kl_divergence is not None and found.decided_positions is not None


def test_compiled_passes_are_right(tmp_path: Path) -> None:
    reference = reference_of(pass_session(tmp_path, "vit"), "vit", 4)
    found = check(pass_session(tmp_path, "vit", ["compile"]), reference)
    assert found.passed, found.reason


def test_stacked_rungs_are_all_in_force(tmp_path: Path) -> None:
    stack = ["trace", "native_linear_int8_dynamic"]
    session = pass_session(tmp_path, "bert", stack)
    assert not any(isinstance(part, nn.Linear) for part in session.module.modules())
    reference = reference_of(pass_session(tmp_path, "bert"), "bert")
    assert check(session, reference, output_class="near", max_loss=0.3).passed


class Wrong(PassSession):
    """Outputs that are off by `factor`, or of other inputs."""

    def __init__(self, plain: PassSession, factor: float = 1.0, shift: int = 0) -> None:
        self.plain, self.factor, self.shift = plain, factor, shift
        self.module, self.gives_logits = plain.module, plain.gives_logits

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.plain.outputs(inputs).roll(self.shift, 0) * self.factor


@pytest.mark.parametrize("name", ["bert", "roberta_words", "vit"])
def test_wrong_outputs_are_found_out(name: str, tmp_path: Path) -> None:
    plain = pass_session(tmp_path, name)
    reference = reference_of(plain, name)
    assert check(plain, reference).passed
    for wrong in (Wrong(plain, 1.001), Wrong(plain, shift=1), Wrong(plain, -1.0)):
        found = check(wrong, reference)
        assert not found.passed and found.verdict == "wrong"
        assert "rounding explains" in found.reason
    for wrong in (Wrong(plain, shift=1), Wrong(plain, -1.0)):
        found = check(wrong, reference, output_class="near")
        assert not found.passed and found.verdict == "wrong", found.reason
    broken = check(Wrong(plain, float("nan")), reference)
    assert not broken.passed and "not finite" in broken.reason


def test_a_small_change_is_near_and_not_exact(tmp_path: Path) -> None:
    plain = pass_session(tmp_path, "roberta_words")
    reference = reference_of(plain, "roberta_words")
    close = Wrong(plain, 1.02)
    assert not check(close, reference).passed
    assert check(close, reference, output_class="near", max_loss=0.01).passed
    assert not check(close, reference, output_class="near", max_loss=1e-7).passed


def test_too_few_inputs_prove_nothing(tmp_path: Path) -> None:
    plain = pass_session(tmp_path, "vit")
    reference = reference_of(plain, "vit", 1)
    found = check(plain, reference, output_class="near", max_loss=0.01)
    assert not found.passed and found.verdict == "not proven"


def test_rounding_noise_is_the_distance_from_fp64(tmp_path: Path) -> None:
    session = pass_session(tmp_path, "bert")
    reference = reference_of(session, "bert", 2)
    with torch.inference_mode():
        exact = session.module.double()(pass_input("bert", 2)).float()
    expected = float((reference.outputs - exact).abs().max())
    assert 0 < reference.noise == pytest.approx(expected)
    assert 16 * reference.noise <= reference.tolerance < 1e-3


def test_a_reference_is_read_as_it_was_written(tmp_path: Path) -> None:
    reference = reference_of(pass_session(tmp_path, "bert"), "bert", 4)
    reference.save(tmp_path / "reference.safetensors")
    again = PassReference.load(tmp_path / "reference.safetensors")
    assert again.noise == reference.noise
    for name in ("inputs", "outputs", "positions"):
        assert torch.equal(getattr(again, name), getattr(reference, name))


def test_of_large_outputs_some_positions_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("topout.generation.pass_outputs.MOST_ELEMENTS", 4 * 97 * 3)
    session = pass_session(tmp_path, "roberta_words")
    reference = reference_of(session, "roberta_words", 4)
    assert reference.outputs.shape == (4, 3, 97) and reference.positions.tolist() == [0, 4, 8]
    assert check(session, reference).passed


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    session = pass_session(tmp_path, "bert")
    weight = session.module.get_parameter("module.encoder.layer.0.output.dense.weight")
    weight.data[0, 0] = float("nan")
    with pytest.raises(WeightsError, match=r"layer\.0\.output\.dense\.weight"):
        reference_of(session, "bert", 2)


def test_a_run_is_one_pass_and_its_time_the_whole(tmp_path: Path) -> None:
    run = pass_session(tmp_path, "vit").generate(pass_input("vit"), 0)
    assert run.ttft_s == run.total_s > 0 and run.forward_passes == 1
    assert run.tokens.shape == (2, 0)


def test_positions_of_outputs_of_any_shape() -> None:
    assert positions_of(torch.zeros(2, 7)).shape == (2, 1, 7)
    assert positions_of(torch.zeros(2, 9, 7)).shape == (2, 9, 7)
    features = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    assert positions_of(features).shape == (2, 20, 3)
    assert positions_of(features)[1, 7].tolist() == features[1, :, 1, 2].tolist()
