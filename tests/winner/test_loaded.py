"""A model under a stack: what it generates, against transformers and against itself."""

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.tiny import GPT2, make_tensors, write_model
from topout.errors import InputError, UnsupportedError
from topout.generation.draws import chi_square_p_value
from topout.models.load import load_transformers
from topout.models.source import resolve_model
from topout.verbs.load import LoadingDoubt, load
from topout.winner.loaded import LoadedModel

pytestmark = pytest.mark.seconds(90)

CODE = "def read(path):\n    with open(path) as file:\n        return file.read()\n\n\n"
EXACT = (
    "transformers_eager",
    "static_cache",
    "static_cache + native_linear_fp32",
    "static_cache + speculate_lookup",
    "static_cache + speculate_draft",
)


@pytest.fixture(scope="module")
def bundled() -> Iterator[LoadedModel]:
    with load("bundled", stack="static_cache") as model:
        yield model


@pytest.fixture(scope="module")
def reference() -> Any:
    return load_transformers(resolve_model("bundled"))


def by_transformers(reference: Any, ids: Sequence[int], new_tokens: int) -> list[int]:
    row = torch.tensor([list(ids)])
    output = reference.generate(
        row, attention_mask=torch.ones_like(row), max_new_tokens=new_tokens, do_sample=False
    )
    found: list[int] = output[0, len(ids) :].tolist()
    return found


# --- against transformers -----------------------------------------------------------------------


@pytest.mark.parametrize("stack", EXACT)
def test_greedy_text_is_that_of_transformers(stack: str, reference: Any) -> None:
    """From one token to the context's end: 512 positions leave one token more than they hold."""
    with load("bundled", stack=stack) as model:
        ids = model.token_ids(CODE * 23)
        for length, new_tokens in ((1, 20), (2, 9), (37, 24), (250, 12), (500, 13), (512, 1)):
            found = model.generate(ids[:length], max_new_tokens=new_tokens)
            assert found.token_ids == by_transformers(reference, ids[:length], new_tokens), length
            assert found.prompt_ids == ids[:length]


def test_a_compiled_stack_gives_the_same_for_any_length(reference: Any, inductor: None) -> None:
    from torch._dynamo.utils import counters

    with load("bundled", stack="static_cache + compile + generate_gemv", context_len=256) as model:
        ids = model.token_ids(CODE * 10)
        model.warm_up(256)
        graphs = counters["stats"]["unique_graphs"]
        for length in (1, 3, 64, 130, 243):
            found = model.generate(ids[:length], max_new_tokens=8)
            assert found.token_ids == by_transformers(reference, ids[:length], 8), length
        assert counters["stats"]["unique_graphs"] == graphs  # nothing was compiled for a length


def test_logits_are_those_of_transformers(bundled: LoadedModel, reference: Any) -> None:
    ids = bundled.token_ids(CODE)
    with torch.inference_mode():
        expected = reference(torch.tensor([ids])).logits[0]
    found = bundled.logits(CODE)
    assert found.shape == (len(ids), 4096) and found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-4)
    with load("bundled", stack="transformers_eager") as model:
        torch.testing.assert_close(model.logits(ids), expected, atol=2e-3, rtol=1e-4)


# --- against itself -----------------------------------------------------------------------------


@pytest.mark.parametrize("stack", EXACT)
def test_a_text_does_not_depend_on_the_texts_before_it(stack: str) -> None:
    prompts = [CODE, "x", CODE * 9, "import os\n", CODE * 3]
    options: Any = {"max_new_tokens": 12, "temperature": 0.8, "seed": 5}
    with load("bundled", stack=stack) as model:
        used = [model.generate(prompt, **options).token_ids for prompt in prompts]
    for prompt, tokens in zip(prompts, used, strict=True):
        with load("bundled", stack=stack) as fresh:
            assert fresh.generate(prompt, **options).token_ids == tokens


@pytest.mark.parametrize("stack", ["static_cache", "static_cache + speculate_lookup"])
def test_pieces_joined_are_the_text(stack: str) -> None:
    with load("bundled", stack=stack) as model:
        options: Any = {"max_new_tokens": 60, "temperature": 1.5, "seed": 1}
        whole = model.generate("ä = '", **options)
        stream = model.stream("ä = '", **options)
        assert "".join(stream) == whole.text == str(whole)
        assert stream.result().token_ids == whole.token_ids
        tokens = model.stream(model.token_ids("ä = '"), **options)
        assert list(tokens) == whole.token_ids
        assert tokens.result().text == whole.text


def test_seeds_reproduce_and_differ(bundled: LoadedModel) -> None:
    def text(seed: int | None) -> str:
        return bundled.generate(CODE, max_new_tokens=24, temperature=1.0, seed=seed).text

    before = torch.random.get_rng_state()
    assert text(1) == text(1)
    assert len({text(1), text(2), text(None), text(None)}) == 4
    assert torch.equal(torch.random.get_rng_state(), before)  # the user's own numbers go on


@pytest.mark.parametrize(
    "stack", ["static_cache + speculate_lookup", "static_cache + speculate_draft"]
)
def test_speculation_keeps_the_distribution(stack: str) -> None:
    """The token after the prefill's, over seeds, against the model's own distribution."""
    draws, options = 300, {"temperature": 1.0, "top_k": 4, "top_p": 0.95}
    with load("bundled", stack=stack) as model:
        ids = model.token_ids(CODE)
        found: dict[int, list[int]] = {}
        for seed in range(draws):
            first, second = model.generate(ids, max_new_tokens=2, seed=seed, **options).token_ids
            found.setdefault(first, []).append(second)
        first = max(found, key=lambda token: len(found[token]))
        logits = model.logits([*ids, first])[-1]
    from topout.generation.sampling import Sampling

    own = Sampling(1.0, 4, 0.95).probabilities(logits)
    counts = torch.bincount(torch.tensor(found[first]), minlength=own.shape[0])
    assert len(found[first]) > 50
    assert chi_square_p_value(counts, own) > 1e-3


def test_what_is_warmed_up_is_what_a_text_of_that_length_uses() -> None:
    """4 proposals beyond the last token but one: 253 tokens fit into 256 positions, 254 do not."""
    with load("bundled", stack="static_cache") as model:
        for tokens, capacity in ((1, 256), (253, 256), (254, 512), (512, 512), (9999, 512)):
            model._sessions.clear()
            model.warm_up(tokens)
            assert list(model._sessions) == [capacity]
            if 1 < tokens < 9999:
                next(model.stream([5], max_new_tokens=tokens - 1))
            assert list(model._sessions) == [capacity]


# --- how it ends --------------------------------------------------------------------------------


def test_it_ends_at_what_the_model_calls_the_end(tmp_path: Path) -> None:
    """A model whose second choice is called the end: it ends there, that token included."""
    folder = write_model(tmp_path / "model", GPT2)
    tokens = load(str(folder)).generate([3, 5], max_new_tokens=8).token_ids
    assert len(tokens) == 8
    end = next(each for each in tokens if each != tokens[0])
    stated = GPT2 | {"eos_token_id": end}
    found = load(str(write_model(tmp_path / "ending", stated))).generate([3, 5], max_new_tokens=8)
    assert found.token_ids == tokens[: tokens.index(end) + 1]
    assert found.finish == "end of text"
    (tmp_path / "ending" / "generation_config.json").write_text(
        f'{{"eos_token_id": [{tokens[0]}]}}'
    )
    found = load(str(tmp_path / "ending")).generate([3, 5], max_new_tokens=8)
    assert found.token_ids == tokens[:1]


def test_it_ends_with_the_context(bundled: LoadedModel) -> None:
    found = bundled.generate([5] * 510, max_new_tokens=50)
    assert len(found.token_ids) == 3 and found.finish == "context"
    assert bundled.generate([5] * 510, max_new_tokens=3).finish == "length"
    with load("bundled", context_len=16) as model:
        assert len(model.generate([5] * 16).token_ids) == 1


def test_it_ends_before_a_text(bundled: LoadedModel) -> None:
    whole = bundled.generate(CODE, max_new_tokens=40).text
    cut = bundled.generate(CODE, max_new_tokens=40, stop=["\n", "nowhere"])
    assert cut.finish == "stop" and cut.text == whole[: whole.index("\n")]
    assert bundled.generate(CODE, max_new_tokens=40, stop="nowhere").text == whole


def test_what_has_come_can_be_asked_at_any_time(bundled: LoadedModel) -> None:
    stream = bundled.stream(CODE, max_new_tokens=40)
    assert stream.result().token_ids == [] and stream.result().finish == "interrupted"
    piece = next(stream)
    stream.close()
    found = stream.result()
    assert found.text == piece and found.finish == "interrupted" and len(found.token_ids) >= 1
    assert list(stream) == []
    whole = bundled.generate(CODE, max_new_tokens=40)
    assert whole.text.startswith(piece) and whole.forward_passes == 39
    assert whole.prefill_s > 0 and whole.decode_s > 0


# --- refused ------------------------------------------------------------------------------------


def test_one_text_at_a_time(bundled: LoadedModel) -> None:
    stream = bundled.stream(CODE)
    next(stream)
    with pytest.raises(InputError, match="is generating another text"):
        bundled.generate("x")
    with pytest.raises(InputError, match="is generating another text"):
        bundled.logits("x")
    stream.close()
    bundled.generate("x", max_new_tokens=1)
    gc.disable()
    try:
        for _ in bundled.stream(CODE):
            break  # left behind
        bundled.generate("x", max_new_tokens=1)
    finally:
        gc.enable()


def test_an_error_in_the_middle_leaves_the_model_free(
    bundled: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = bundled.stream(CODE)
    next(stream)
    with monkeypatch.context() as patched:
        patched.setattr(stream._text, "take", lambda token: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            next(stream)
    bundled.generate("x", max_new_tokens=1)


def test_a_closed_model_refuses(tmp_path: Path) -> None:
    model = load(str(write_model(tmp_path / "model", GPT2)))
    model.close()
    for use in (model.generate, model.logits):
        with pytest.raises(InputError, match="is closed"):
            use([1])
    assert "closed" in repr(model)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "empty"),
        ([], "empty"),
        ([4096], "the token 4096 is not of pycode-7m, whose tokens are 0 to 4095"),
        ([-1], "token -1"),
        ([1.0], "no token id"),
        ([True], "no token id"),
        (["a"], "no token id"),
        ([1] * 513, "513 tokens, and the context of pycode-7m is 512"),
        ("word " * 600, "tokens, and the context"),
        ("a\udcffb", "is not UTF-8"),
        (torch.zeros(2, 3, dtype=torch.int64), "no row of ids"),
        (torch.zeros(3), "no row of ids"),
    ],
)
def test_a_prompt_that_cannot_be_run_is_refused(
    bundled: LoadedModel, prompt: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        bundled.generate(prompt)
    with pytest.raises(InputError, match=message):
        bundled.logits(prompt)


def test_tensors_are_prompts(bundled: LoadedModel) -> None:
    ids = bundled.token_ids(CODE)
    found = bundled.generate(ids, max_new_tokens=4).token_ids
    assert bundled.generate(torch.tensor(ids), max_new_tokens=4).token_ids == found
    assert bundled.generate(torch.tensor([ids]), max_new_tokens=4).token_ids == found


@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 0},
        {"temperature": -1.0},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"seed": -1},
        {"stop": ""},
        {"stop": ["a", ""]},
    ],
)
def test_options_out_of_range_are_refused(bundled: LoadedModel, options: Any) -> None:
    with pytest.raises(InputError):
        bundled.generate("x", **options)


def test_text_needs_a_tokenizer_and_token_ids_none(tmp_path: Path) -> None:
    with load(str(write_model(tmp_path / "model", GPT2))) as model:
        with pytest.raises(UnsupportedError, match="has no tokenizer, which text needs"):
            model.generate("x")
        with pytest.raises(UnsupportedError, match="tokenizer"):
            model.generate([1], stop="x")
        found = model.generate([1, 2], max_new_tokens=3)
        assert len(found.token_ids) == 3 and found.text == ""


def test_random_weights_are_labelled() -> None:
    with pytest.warns(LoadingDoubt, match="random weights: the speed is real, the text is meaning"):
        model = load("distilgpt2", random_weights=True)
    assert [doubt.about for doubt in model.doubts] == ["weights"]
    assert len(model.generate("x", max_new_tokens=2).token_ids) == 2
    assert make_tensors(GPT2)  # the other tests' own weights count as trained
