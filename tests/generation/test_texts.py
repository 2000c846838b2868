"""Real text in prompts and windows."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.generation.tiny_builds import workload
from tests.models.tiny import GPT2, make_source
from topout.errors import InputError
from topout.generation import texts as texts_module
from topout.generation.texts import MOST_WINDOWS, PROMPTS, Texts, cut_texts
from topout.models.source import ModelSource
from topout.models.text import HeldoutText, TextPiece

PROMPT_LEN, SCORED = 20, 10
WINDOW = PROMPT_LEN + SCORED


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    """A model without a tokenizer: byte b of the text is token 2·b of 512."""
    return make_source(tmp_path_factory.mktemp("model"), GPT2 | {"vocab_size": 512})


def long_text() -> str:
    return "".join(chr(33 + i * i % 89) for i in range(5000))


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def cut(
    source: ModelSource, tmp_path: Path, text: str, batch_size: int = 1
) -> tuple[Texts, dict[str, Tensor]]:
    path = tmp_path / "texts.safetensors"
    asked = workload(prompt_len=PROMPT_LEN, batch_size=batch_size)
    found = cut_texts(source, asked, write(tmp_path / "text.txt", text), SCORED, path)
    return found, load_file(path)


def test_windows_are_the_text_in_order(source: ModelSource, tmp_path: Path) -> None:
    text = long_text()
    found, tensors = cut(source, tmp_path, text)
    windows = tensors["windows"]
    assert windows.shape == (MOST_WINDOWS, WINDOW) == (found.windows, WINDOW)
    assert windows.flatten().tolist() == [2 * ord(c) for c in text[: MOST_WINDOWS * WINDOW]]
    assert found.scored_tokens == SCORED
    assert found.description == str(tmp_path / "text.txt")


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 11])
def test_prompts_begin_windows_and_windows_come_in_whole_batches(
    batch_size: int, source: ModelSource, tmp_path: Path
) -> None:
    found, tensors = cut(source, tmp_path, long_text(), batch_size)
    assert found.windows == len(tensors["windows"]) == len(found.scored_bytes)
    assert found.windows % batch_size == 0 and found.windows >= batch_size
    prompts = tensors["prompts"]
    assert prompts.shape == (PROMPTS, batch_size, PROMPT_LEN)
    beginnings = tensors["windows"][:, :PROMPT_LEN].tolist()
    rows = prompts.reshape(-1, PROMPT_LEN).tolist()
    assert rows == [beginnings[i % len(beginnings)] for i in range(len(rows))]
    if len(rows) <= found.windows:  # as long as there are windows enough, each prompt is another
        assert len({tuple(row) for row in rows}) == len(rows)


def test_a_short_text_is_repeated(source: ModelSource, tmp_path: Path) -> None:
    text = long_text()[:WINDOW]
    _, tensors = cut(source, tmp_path, text)
    assert tensors["windows"].tolist() == [[2 * ord(c) for c in text]] * MOST_WINDOWS


def test_a_text_too_short_for_a_window_is_refused(source: ModelSource, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"29 tokens, and a window needs 30.*--text"):
        cut(source, tmp_path, long_text()[: WINDOW - 1])


def test_scored_bytes_are_those_of_the_scored_tokens(source: ModelSource, tmp_path: Path) -> None:
    found, _ = cut(source, tmp_path, long_text())
    assert found.scored_bytes == (SCORED,) * MOST_WINDOWS  # a token is a byte here


def test_a_missing_text_is_named(source: ModelSource, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.txt")
    with pytest.raises(InputError, match=r"cannot read .*missing\.txt"):
        cut_texts(source, workload(), missing, SCORED, tmp_path / "texts.safetensors")


def test_without_a_text_held_out_modules_are_taken(
    source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def heldout_text(minimum_bytes: int) -> HeldoutText:
        asked.append(minimum_bytes)
        return HeldoutText(pieces=(TextPiece("ast.py", long_text()),), missing=())

    monkeypatch.setattr(texts_module, "heldout_text", heldout_text)
    path = tmp_path / "texts.safetensors"
    found = cut_texts(source, workload(prompt_len=PROMPT_LEN), None, SCORED, path)
    assert asked[0] >= MOST_WINDOWS * WINDOW
    assert "ast.py" in found.description
    first = load_file(path)["windows"][0]
    assert first.tolist() == [2 * ord(c) for c in long_text()[:WINDOW]]
    assert first.dtype == torch.int64
