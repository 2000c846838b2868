"""Texts to token ids: the model's tokenizer, its special tokens, bytes where it has none."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.tiny import GPT2, write_model
from topout.errors import InputError
from topout.models.source import resolve_source
from topout.train.tokenization import text_encoder

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
