"""The worker's answers, asked for in this process: a stack built, timed, and verified."""

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.generation.tiny_builds import LONG_GPT2, workload
from tests.models.tiny import make_tokens, write_model
from topout.generation import speculation
from topout.generation.build import ModelChoice, Preparation
from topout.generation.quality import judged_by_distance
from topout.generation.sampling import draw
from topout.generation.verify import LARGEST_LOSS
from topout.ladder.worker import ClimbWorker
from topout.models.load import load_decoder
from topout.records import RunSample, Verification

PROMPT_LEN, SCORED = 12, 10


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "m", LONG_GPT2)


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("draft") / "d", LONG_GPT2, seed=1)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.safetensors"
    windows = make_tokens(LONG_GPT2["vocab_size"], 3, PROMPT_LEN + SCORED)
    prompts = windows[:, None, :PROMPT_LEN].contiguous()
    save_file({"windows": windows, "prompts": prompts, "rows": windows.clone()}, path)
    return path


def prepared(
    model: Path, texts: Path, stack: list[str], *, draft: Path | None = None, **changes: Any
) -> ClimbWorker:
    asked = workload(**{"prompt_len": PROMPT_LEN, "new_tokens": SCORED, **changes})
    preparation = Preparation(
        transforms=stack,
        model=ModelChoice(str(model)),
        draft=ModelChoice(str(draft)) if draft is not None else None,
        workload=asked,
        texts=str(texts),
        quantized_folder=str(texts.parent / "quantized"),
    )
    worker = ClimbWorker()
    reply = worker.prepare(msgspec.to_builtins(preparation))
    assert reply["prepare_s"] > 0 and reply["weight_bytes"] > 0
    return worker


def verified(worker: ClimbWorker, reference: Path, output_class: str = "exact") -> Verification:
    params = {
        "path": str(reference),
        "output_class": output_class,
        "max_loss": 0.01,
        "text_bytes": 30,
    }
    return msgspec.convert(worker.verify(params), Verification)


@pytest.fixture
def reference(model: Path, texts: Path, tmp_path: Path) -> Path:
    path = tmp_path / "reference.safetensors"
    baseline = prepared(model, texts, [])
    params = {"path": str(path), "prompt_lens": [PROMPT_LEN] * 2, "scored_tokens": SCORED}
    reply = baseline.reference(params)
    assert reply["noise"] > 0 and reply["elapsed_s"] > 0
    return path


def test_a_timed_run_is_a_sample(model: Path, texts: Path) -> None:
    worker = prepared(model, texts, ["static_cache"])
    reply = worker.generate(
        {"prompt": 7, "timed_tokens": SCORED}
    )  # of three prompts: they are taken in turn
    sample = RunSample(at_s=0.0, **reply)
    assert 0 < sample.ttft_s < sample.total_s
    assert (sample.new_tokens, sample.forward_passes) == (SCORED, SCORED - 1)
    assert sample.peak_memory_bytes is not None and sample.peak_memory_bytes > 1 << 20


def test_a_run_over_fewer_tokens_is_scaled_to_all(model: Path, texts: Path) -> None:
    worker = prepared(model, texts, ["static_cache"])
    few = 1 + (SCORED - 1) // 3
    sample = RunSample(at_s=0.0, **worker.generate({"prompt": 0, "timed_tokens": few}))
    assert (sample.new_tokens, sample.timed_tokens) == (SCORED, few)
    assert sample.forward_passes == SCORED - 1  # as many as all of the tokens would take
    assert sample.total_s > sample.ttft_s


@pytest.mark.parametrize("stack", [["static_cache"], ["static_cache", "speculate_lookup"]])
def test_a_right_stack_passes(stack: list[str], model: Path, texts: Path, reference: Path) -> None:
    found = verified(prepared(model, texts, stack), reference)
    assert found.passed, found.reason
    assert found.positions == 2 * SCORED
    assert found.p_value is None  # greedy text is compared token by token


def test_other_weights_do_not_pass(draft: Path, texts: Path, reference: Path) -> None:
    assert not verified(prepared(draft, texts, ["static_cache"]), reference).passed
    near = verified(prepared(draft, texts, ["static_cache"]), reference, "near")
    assert near.passed  # it decodes as its own large pass says; what that loses is judged by losses
    assert not judged_by_distance(near, 0.01, "the weights are random").passed


def test_losses_are_those_of_each_next_token(model: Path, texts: Path, tmp_path: Path) -> None:
    path = tmp_path / "losses.safetensors"
    worker = prepared(model, texts, ["static_cache"])
    worker.losses({"path": str(path), "first": 1, "last": 3})
    found = load_file(path)["losses"]
    rows = worker.rows[1:3]
    assert found.shape == (2, rows.shape[1] - 1) and found.dtype == torch.float32
    with torch.inference_mode():
        logits = load_decoder(ModelChoice(str(model)).resolve())(
            rows[:, :-1], torch.arange(rows.shape[1] - 1)
        )
    expected = -torch.log_softmax(logits, -1).gather(-1, rows[:, 1:, None])[..., 0]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_loss_that_is_no_number_is_the_largest(model: Path, texts: Path, tmp_path: Path) -> None:
    path = tmp_path / "losses.safetensors"
    worker = prepared(model, texts, ["static_cache"])
    worker.session.module.norm.weight.data[:] = math.nan  # type: ignore[union-attr, operator]
    worker.losses({"path": str(path), "first": 0, "last": 1})
    assert set(load_file(path)["losses"].flatten().tolist()) == {LARGEST_LOSS}


def test_a_sampled_speculation_is_held_to_the_distribution(
    model: Path,
    draft: Path,
    texts: Path,
    reference: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack = ["static_cache", "speculate_draft"]
    worker = prepared(model, texts, stack, draft=draft, temperature=1.0)
    found = verified(worker, reference)
    assert found.passed and found.p_value is not None and found.p_value > 1e-4
    monkeypatch.setattr(
        speculation,
        "accept",
        lambda proposed, q, p, generator: [*proposed.tolist(), int(draw(p[-1]))],
    )
    found = verified(worker, reference)
    assert not found.passed
    assert "do not follow the model's distribution" in found.reason


def test_acceptance_is_foretold_for_each_way_of_speculating(
    model: Path, draft: Path, texts: Path, reference: Path
) -> None:
    preparation = Preparation(
        model=ModelChoice(str(model)),
        draft=ModelChoice(str(draft)),
        workload=workload(prompt_len=PROMPT_LEN, new_tokens=SCORED),
        texts=str(texts),
        quantized_folder="",
    )
    params = {"path": str(reference), "timed_tokens": SCORED}
    worker = ClimbWorker()
    worker.prepare(msgspec.to_builtins(preparation))
    found = worker.acceptance(params)
    assert set(found) == {"speculate_lookup", "speculate_draft"}
    assert all(1 <= tokens <= 5 for tokens in found.values())
    # What it generated counts where there is some, over the tokens that all runs have.
    for prompt, timed_tokens in ((0, SCORED), (1, SCORED // 2)):
        worker.generate({"prompt": prompt, "timed_tokens": timed_tokens})
    found = worker.acceptance(params)
    assert all(1 <= tokens <= 5 for tokens in found.values())


def test_a_model_is_found_again_by_its_choice(model: Path) -> None:
    assert ModelChoice(str(model)).resolve().folder == model
    random = ModelChoice("gpt2", random_weights=True, seed=3).resolve()
    assert (random.origin, random.seed) == ("random", 3)
    torch.set_num_threads(1)
