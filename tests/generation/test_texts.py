"""Real text in prompts and windows."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.generation.tiny_builds import WORKLOAD, workload
from tests.models.tiny import GPT2, make_source
from topout.errors import InputError
from topout.generation import texts as texts_module
from topout.generation.texts import (
    MOST_BATCHES,
    PROMPTS,
    Texts,
    cut_texts,
    prompt_lengths,
)
from topout.models.source import ModelSource
from topout.models.text import HeldoutText, TextPiece

NEW_TOKENS = WORKLOAD.new_tokens
PROMPT_LEN, SCORED = 20, 10
WINDOW = PROMPT_LEN + NEW_TOKENS


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    """A model without a tokenizer: byte b of the text is token 2·b of 512."""
    return make_source(tmp_path_factory.mktemp("model"), GPT2 | {"vocab_size": 512})


def long_text() -> str:
    return "".join(chr(33 + i * i % 89) for i in range(20_000))


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def cut(
    source: ModelSource, tmp_path: Path, text: str, batch_size: int = 1
) -> tuple[Texts, dict[str, Tensor]]:
    path = tmp_path / "texts.safetensors"
    asked = workload(prompt_len=PROMPT_LEN, batch_size=batch_size)
    found = cut_texts(source, asked, [write(tmp_path / "text.txt", text)], SCORED, path)
    return found, load_file(path)


def tokens_of(text: str) -> list[int]:
    return [2 * ord(character) for character in text]


def test_windows_are_the_text_in_order(source: ModelSource, tmp_path: Path) -> None:
    text = long_text()
    found, tensors = cut(source, tmp_path, text)
    windows = tensors["windows"]
    assert windows.shape == (MOST_BATCHES, WINDOW)
    assert windows.flatten().tolist() == tokens_of(text[: MOST_BATCHES * WINDOW])
    assert found.scored_tokens == SCORED
    assert found.description == str(tmp_path / "text.txt")


@pytest.mark.parametrize(
    ("batch_size", "scored", "new_tokens", "lens"),
    [
        # The timed length, half of it, one that ends with the cache, until 640 are scored.
        (1, 128, 128, [835, 417, 835, 835, 835]),
        (1, 128, 300, [835, 417, 1007, 835, 835]),
        (4, 64, 128, [835, 417, 899]),
        (1, 10, 24, [835, 417, 849, 835, 835, 835, 835, 835]),  # few of each: as many as may be
        (600, 1, 2, [835, 417, 836]),
    ],
)
def test_prompts_of_several_lengths_are_verified(
    batch_size: int, scored: int, new_tokens: int, lens: list[int]
) -> None:
    asked = workload(prompt_len=835, batch_size=batch_size, new_tokens=new_tokens)
    assert prompt_lengths(asked, scored) == lens
    assert all(0 < each <= 835 + new_tokens - scored for each in lens)


def test_a_prompt_of_one_token_has_no_half() -> None:
    assert prompt_lengths(workload(prompt_len=1), 24)[:3] == [1, 1, 1]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 11])
def test_windows_come_in_whole_batches(
    batch_size: int, source: ModelSource, tmp_path: Path
) -> None:
    found, tensors = cut(source, tmp_path, long_text(), batch_size)
    windows = len(tensors["windows"])
    assert windows == len(found.prompt_lens) == len(found.scored_bytes)
    assert windows % batch_size == 0 and windows >= 3 * batch_size
    for batch in torch.tensor(found.prompt_lens).split(batch_size):
        assert len(set(batch.tolist())) == 1
    prompts = tensors["prompts"]
    assert prompts.shape == (PROMPTS, batch_size, PROMPT_LEN)
    rows = prompts.reshape(-1, PROMPT_LEN).tolist()
    starts = [number * WINDOW for number in range(PROMPTS * batch_size)]
    assert rows == [tokens_of(long_text()[at : at + PROMPT_LEN]) for at in starts]


def test_several_texts_take_turns(source: ModelSource, tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.txt", "a" * 500), write(tmp_path / "b.txt", "b" * 300)]
    path = tmp_path / "texts.safetensors"
    found = cut_texts(source, workload(prompt_len=PROMPT_LEN), paths, SCORED, path)
    tensors = load_file(path)
    a, b = 2 * ord("a"), 2 * ord("b")
    assert [set(window.tolist()) for window in tensors["windows"]] == [{a}, {b}] * 4
    assert {int(token) for token in tensors["prompts"].flatten()} == {a}
    # 500 tokens are 11 rows of 44, 300 are 6: in turns as long as both last.
    assert found.row_texts == tuple(paths * 6 + paths[:1] * 5)
    for name, row in zip(found.row_texts, tensors["rows"], strict=True):
        assert set(row.tolist()) == {a if name == paths[0] else b}
    assert found.row_len == WINDOW
    assert found.description == ", ".join(paths)


def test_rows_do_not_overlap_and_do_not_repeat(source: ModelSource, tmp_path: Path) -> None:
    text = long_text()
    found, tensors = cut(source, tmp_path, text)
    rows = tensors["rows"].flatten().tolist()
    assert rows == tokens_of(text)[: len(rows)]
    assert len(text) - WINDOW < len(rows) + max(0, len(text) - 16384) and len(rows) <= 16384
    assert found.rows_digest != cut(source, tmp_path, text[1:])[0].rows_digest


def test_text_unlike_the_tokenizers_is_told(source: ModelSource, tmp_path: Path) -> None:
    found, _ = cut(source, tmp_path, long_text())
    assert list(found.bytes_per_token.values()) == [1.0]
    (doubt,) = found.doubts()
    assert "takes 1.00 bytes per token of" in doubt.sentence and "text.txt" in doubt.sentence
    assert dataclasses.replace(found, bytes_per_token={"a": 3.1}).doubts() == []


def test_a_short_text_is_repeated(source: ModelSource, tmp_path: Path) -> None:
    text = long_text()[:WINDOW]
    found, tensors = cut(source, tmp_path, text)
    assert tensors["windows"].tolist() == [tokens_of(text)] * MOST_BATCHES
    assert len(found.row_texts) == len(tensors["rows"]) == 1  # which prove nothing twice


def test_a_text_too_short_for_a_window_is_refused(source: ModelSource, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"43 tokens, and a window needs 44.*--text"):
        cut(source, tmp_path, long_text()[: WINDOW - 1])


def test_scored_bytes_are_those_of_the_scored_tokens(source: ModelSource, tmp_path: Path) -> None:
    found, _ = cut(source, tmp_path, long_text())
    assert found.scored_bytes == (SCORED,) * MOST_BATCHES  # a token is a byte here


def test_a_missing_text_is_named(source: ModelSource, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.txt")
    with pytest.raises(InputError, match=r"cannot read .*missing\.txt"):
        cut_texts(source, workload(), [missing], SCORED, tmp_path / "texts.safetensors")


def test_without_a_text_held_out_modules_and_english_are_taken(
    source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def heldout_text(minimum_bytes: int) -> HeldoutText:
        asked.append(minimum_bytes)
        return HeldoutText(pieces=(TextPiece("ast.py", long_text()),), missing=())

    monkeypatch.setattr(texts_module, "heldout_text", heldout_text)
    path = tmp_path / "texts.safetensors"
    found = cut_texts(source, workload(prompt_len=PROMPT_LEN), None, SCORED, path)
    assert asked[0] >= max(16384, MOST_BATCHES * WINDOW)
    assert "ast.py" in found.description and "English" in found.description
    first = load_file(path)["windows"][0]
    assert first.tolist() == tokens_of(long_text()[:WINDOW])
    assert first.dtype == torch.int64
    assert found.row_texts[:2] == ("Python", "English")
    for name in ("Python", "English"):
        assert 16384 - WINDOW < found.row_texts.count(name) * WINDOW <= 16384
    # A Python without its documentation has no English.
    monkeypatch.setattr(texts_module, "english_text", lambda: "")
    found = cut_texts(source, workload(prompt_len=PROMPT_LEN), None, SCORED, path)
    assert set(found.row_texts) == {"Python"} and "English" not in found.description
