"""Whole sequences: special tokens around the text, and what is cut."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors

from topout.errors import InputError
from topout.models.source import resolve_encoder
from topout.models.text import ByteTokenizer, Tokenizer, load_tokenizer

from .tiny_encoders import BERT

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "down"]


def write_tokenizer(folder: Path, vocab_size: int = BERT["vocab_size"]) -> Tokenizer:
    vocab = {word: number for number, word in enumerate(WORDS)}
    backend = Backend(models.WordLevel(vocab, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    backend.enable_truncation(3)  # what a stored file says of lengths is not what counts
    backend.enable_padding(length=10)
    backend.save(str(folder / "tokenizer.json"))
    fields = BERT | {"vocab_size": vocab_size}
    (folder / "config.json").write_text(json.dumps(fields))
    return load_tokenizer(resolve_encoder(str(folder), random_weights=True))


@pytest.mark.parametrize(
    ("max_len", "ids"),
    [(32, [2, 4, 5, 6, 7, 3]), (6, [2, 4, 5, 6, 7, 3]), (5, [2, 4, 5, 6, 3]), (3, [2, 4, 3])],
)
def test_special_tokens_stay_and_the_text_is_cut(
    max_len: int, ids: list[int], tmp_path: Path
) -> None:
    tokenizer = write_tokenizer(tmp_path)
    assert tokenizer.encode_sequence("the cat sat down", max_len) == ids
    assert tokenizer.encode("the cat sat down") == [4, 5, 6, 7]


def test_a_text_without_words_is_its_special_tokens(tmp_path: Path) -> None:
    assert write_tokenizer(tmp_path).encode_sequence("", 8) == [2, 3]


def test_no_room_for_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 tokens leaves no room for text\. Give at least 3"):
        write_tokenizer(tmp_path).encode_sequence("the", 2)


def test_a_token_that_the_model_has_no_row_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gives the token 7"):
        write_tokenizer(tmp_path, vocab_size=7).encode_sequence("down", 8)


def test_bytes_have_no_special_tokens() -> None:
    tokenizer = ByteTokenizer(256)
    assert tokenizer.encode_sequence("abc", 2) == [97, 98]
    with pytest.raises(InputError, match="leaves no room"):
        tokenizer.encode_sequence("abc", 0)


@pytest.mark.parametrize("files", [["vocab.txt"], ["vocab.json", "merges.txt"]])
def test_a_vocabulary_alone_does_not_say_how_text_is_split(
    files: list[str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    for name in files:
        (tmp_path / name).write_text("")
    source = resolve_encoder(str(tmp_path), random_weights=True)
    with pytest.raises(InputError, match=f"its {files[0]} alone does not say how bert splits"):
        load_tokenizer(source)
