"""Samples from texts and from a seed: lengths, labels, what is cut, what can be learned."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.tiny import GPT2, write_model
from topout.errors import InputError
from topout.models.source import resolve_source
from topout.train.data import (
    classified_texts,
    generated_classes,
    generated_language,
    language_windows,
    padded,
    text_encoder,
    windows,
)
from topout.train.rows import Rows

PATH = Path("texts.jsonl")
MARK = 1  # stands before and after each text


def letters(texts: Sequence[str]) -> list[list[int]]:
    return [[MARK, *(ord(letter) for letter in text), MARK] for text in texts]


def test_texts_are_cut_before_their_last_token_and_padded() -> None:
    rows = Rows(texts=["ab", "abcdef"], labels=["no", "yes"])
    samples = classified_texts(PATH, rows, letters, sequence_len=5, padding=0, needed=10, seed=0)
    found = {tuple(row) for row in samples.tokens.tolist()}
    assert found == {(MARK, 97, 98, MARK, 0), (MARK, 97, 98, 99, MARK)}
    assert sorted(samples.lengths.tolist()) == [4, 5]
    assert samples.cut_samples == 1
    assert samples.padding_share == pytest.approx(1 / 10)


def test_labels_are_numbered_in_their_order() -> None:
    names = ["10", "2", "neutral", "bad", "2"]
    rows = Rows(texts=[f"t{n}" for n in range(5)], labels=names)
    samples = classified_texts(PATH, rows, letters, sequence_len=9, padding=0, needed=9, seed=1)
    assert samples.label_names == ["2", "10", "bad", "neutral"]
    by_text = {int(row[2]) - ord("0"): label for row, label in zip(samples.tokens, samples.labels)}
    assert [samples.label_names[by_text[n]] for n in range(5)] == names


def test_no_more_are_tokenized_than_are_needed() -> None:
    rows = Rows(texts=["a"] * 100, labels=["x", "y"] * 50)
    samples = classified_texts(PATH, rows, letters, sequence_len=4, padding=0, needed=7, seed=0)
    assert samples.tokens.shape == (7, 4)


def test_one_label_teaches_nothing() -> None:
    rows = Rows(texts=["a", "b"], labels=["x", "x"])
    with pytest.raises(InputError, match="nothing to tell apart"):
        classified_texts(PATH, rows, letters, sequence_len=4, padding=0, needed=7, seed=0)


def test_a_stream_is_cut_into_windows_and_the_rest_is_left_out() -> None:
    assert windows(list(range(11)), 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    rows = Rows(texts=["abc", "de"])
    samples = language_windows(PATH, rows, letters, sequence_len=3, needed=9, seed=0)
    assert sorted(map(tuple, samples.tokens.tolist())) == sorted(
        [(MARK, 97, 98), (99, MARK, MARK), (100, 101, MARK)]
    )
    with pytest.raises(InputError, match="9 tokens, less than one sequence of 10"):
        language_windows(PATH, rows, letters, sequence_len=10, needed=9, seed=0)


def test_a_sample_without_a_token_is_refused() -> None:
    with pytest.raises(InputError, match="a sample has no token"):
        padded([[1], []], 4, 0)
    with pytest.raises(InputError, match="there is no sample"):
        padded([], 4, 0)


@pytest.mark.parametrize("vocab_size", [3, 64, 50257])
def test_generated_classes_are_told_by_their_tokens(vocab_size: int) -> None:
    samples = generated_classes(200, 50, vocab_size, seed=0)
    classes = len(samples.label_names)
    few = min(4, vocab_size // classes)
    assert samples.tokens.min() >= 0 and samples.tokens.max() < vocab_size
    # Counting each class's own tokens tells the class.
    own = np.stack([(samples.tokens // few == label).sum(1) for label in range(classes)], 1)
    assert (own.argmax(1) == samples.labels).mean() > 0.85
    assert set(samples.labels.tolist()) == set(range(classes))


def test_generated_language_follows_a_table() -> None:
    samples = generated_language(100, 40, 50257, seed=0)
    pairs: dict[int, list[int]] = {}
    for row in samples.tokens.tolist():
        for before, after in itertools.pairwise(row):
            pairs.setdefault(before, []).append(after)
    follows = sum(max(map(after.count, set(after))) for after in pairs.values())
    assert follows / (100 * 39) == pytest.approx(0.9, abs=0.03)


def test_a_seed_makes_the_same_data_again_and_another_other_data() -> None:
    for make in (generated_classes, generated_language):
        first, again, other = (make(20, 10, 100, seed) for seed in (1, 1, 2))
        assert np.array_equal(first.tokens, again.tokens)
        assert not np.array_equal(first.tokens, other.tokens)


TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": {
        "type": "BertProcessing",
        "sep": ["[SEP]", 2],
        "cls": ["[CLS]", 1],
    },
    "decoder": None,
    "model": {
        "type": "WordLevel",
        "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "good": 3, "bad": 210, "far": 211},
        "unk_token": "[UNK]",
    },
}


def test_special_tokens_stand_around_a_text_where_they_are_asked_for(tmp_path: Path) -> None:
    write_model(tmp_path, GPT2)
    (tmp_path / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    source = resolve_source(str(tmp_path))
    assert text_encoder(source, 16, special_tokens=True)(["good bad", ""]) == [
        [1, 3, 210, 2],
        [1, 2],
    ]
    assert text_encoder(source, 16, special_tokens=False)(["good bad"]) == [[3, 210]]
    assert text_encoder(source, 3, special_tokens=True)(["good bad"]) == [[1, 3, 2]]
    with pytest.raises(InputError, match="gives the token 211, and the model's vocabulary ends"):
        text_encoder(source, 16, special_tokens=True)(["far"])


def test_without_a_tokenizer_bytes_are_tokens(tmp_path: Path) -> None:
    source = resolve_source(str(write_model(tmp_path, GPT2)))
    assert text_encoder(source, 16, special_tokens=True)(["AB"]) == [[65, 66]]


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, GPT2)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer\.json is not a tokenizer"):
        text_encoder(resolve_source(str(tmp_path)), 16, special_tokens=True)
