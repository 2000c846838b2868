"""The rungs of native linear layers: what they need and exclude, save, expect, and leave right."""

from pathlib import Path

import pytest
import torch

from tests.generation.tiny_builds import MODELS, build_of, session_of, source_of
from topout.cost.predict import Expectation
from topout.errors import CompilerError
from topout.generation.quality import judged_by_distance
from topout.generation.reference import make_reference
from topout.generation.session import DecoderSession
from topout.generation.verify import verify
from topout.kernels import build as kernel_build
from topout.quantization.native_layers import NATIVE_FORMATS, NativeLinear
from topout.rungs.native_linear import NativeLinearRung
from topout.rungs.registry import find_rung, rung_names

NAMES = [f"native_linear_{name}" for name in NATIVE_FORMATS]
# The loss that a format may add on a tiny model, whose weights are few and all matter.
MOST_LOSS = {"fp32": 1e-6, "bf16": 0.02, "int8": 0.02, "int8_dynamic": 0.05, "int4": 0.5}


def test_they_are_on_the_ladder_exact_ones_first() -> None:
    order = rung_names()
    assert [name for name in order if name in NAMES] == NAMES
    assert order.index("native_linear_fp32") < order.index("bf16")
    assert find_rung("native_linear_fp32").output_class == "exact"
    assert all(find_rung(name).output_class == "near" for name in NAMES[1:])


@pytest.mark.parametrize("name", NAMES)
def test_no_compiler_no_rung(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = build_of(source_of(tmp_path, "gpt2"), tmp_path)
    rung = find_rung(name)
    assert rung.reason_to_skip(build) is None

    def none() -> None:
        raise CompilerError("no C++ compiler is installed.", "Install one.")

    monkeypatch.setattr(kernel_build, "find_compiler", none)
    assert "no C++ compiler" in str(rung.reason_to_skip(build))
    assert "Install one" in str(rung.reason_to_skip(build))


def test_they_are_for_cpus_and_types_that_they_know(tmp_path: Path) -> None:
    source = source_of(tmp_path, "gpt2")
    rung = find_rung("native_linear_bf16")
    assert "CPU" in str(rung.reason_to_skip(build_of(source, tmp_path, device="cuda")))
    assert "fp16" not in str(rung.reason_to_skip(build_of(source, tmp_path)))


@pytest.mark.parametrize(("name", "form"), list(NATIVE_FORMATS.items()))
def test_what_they_expect(name: str, form: object, tmp_path: Path) -> None:
    build = build_of(source_of(tmp_path, "gpt2"), tmp_path)
    rung = find_rung(f"native_linear_{name}")
    eager = rung.expect(Expectation(mode="decoder_eager"), build)
    assert eager.native == name and eager.mode == "native_eager"
    assert eager.weight_dtype == NATIVE_FORMATS[name].weight_dtype
    assert rung.expect(Expectation(mode="decoder_compiled"), build).mode == "native_compiled"
    arithmetic = {"fp32": "fp32", "bf16": "bf16", "int8": "fp32"}.get(name, "int8")
    assert eager.arithmetic == arithmetic


@pytest.mark.parametrize("name", list(NATIVE_FORMATS))
@pytest.mark.parametrize("kind", list(MODELS))
def test_the_output_is_right(name: str, kind: str, tmp_path: Path) -> None:
    own = source_of(tmp_path, kind)
    texts = torch.randint(199, (4, 24), generator=torch.Generator().manual_seed(0))
    reference = make_reference(session_of(own, tmp_path, ["static_cache"]), texts, [12] * 4, 12, 1)
    session = session_of(own, tmp_path, ["static_cache", f"native_linear_{name}"])
    assert isinstance(session, DecoderSession)
    assert isinstance(session.steps.model.head, NativeLinear)
    found = verify(
        session,
        reference,
        output_class="near",
        max_loss=MOST_LOSS[name],
        batch_size=1,
        text_bytes=1,
        greedy=True,
    )
    assert found.passed, found.reason
    judged = judged_by_distance(found, MOST_LOSS[name], "the weights are random")
    assert judged.passed, judged.reason
    # Token after token, as it generates, or all at once: the same but for rounding.
    one_by_one = session.score(texts[:1], 12)
    # An activation that lies between two steps of int8 may fall to either.
    tolerance = 0.3 if name in ("int8_dynamic", "int4") else 1e-3
    torch.testing.assert_close(
        one_by_one, session.score_at_once(texts[:1], 12), atol=tolerance, rtol=0
    )


def test_they_share_the_int8_checkpoint_and_keep_one_of_int4(tmp_path: Path) -> None:
    own = source_of(tmp_path, "gpt2")
    for name in ("quantize_weights_int8", *NAMES[2:]):
        session_of(own, tmp_path, ["static_cache", name])
    files = sorted(path.name for path in (tmp_path / "quantized").iterdir())
    assert files == [f"{own.fingerprint}-{each}.safetensors" for each in ("int4-g64", "int8")]


def test_in_bf16_throughout(tmp_path: Path) -> None:
    own = source_of(tmp_path, "llama")
    session = session_of(own, tmp_path, ["static_cache", "native_linear_int8"], dtype="bf16")
    prompt = torch.randint(199, (1, 20))
    assert session.generate(prompt, 4).tokens.shape == (1, 4)


def test_they_are_one_family() -> None:
    assert all(isinstance(find_rung(name), NativeLinearRung) for name in NAMES)
