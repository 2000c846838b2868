"""Tokenizers with which the library in Rust panics are refused in one line, whenever it does."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.test_text import make_backend, make_source
from tests.models.tiny import GPT2
from topout.errors import InputError
from topout.models.panics import as_input_errors
from topout.models.text import load_tokenizer

SHORT = base64.b64encode(b"\x00\x00").decode()
LONG = base64.b64encode(b"\x08\x00\x00\x00" + b"\xff" * 8).decode()
AT_ONCE: dict[str, dict[str, Any]] = {
    "a map that is cut off": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": SHORT}},
    "a merge of nothing known": {
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]}
    },
    "a pattern that is none": {
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": "(("},
            "behavior": "Isolated",
            "invert": False,
        }
    },
}
WITH_A_TEXT: dict[str, dict[str, Any]] = {
    "a map that points out of itself": {
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": LONG}
    },
    "pieces of no length": {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    "words of no vocabulary": {
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {"a": 0},
        }
    },
}


def write(folder: Path, changes: dict[str, Any]) -> None:
    fields = json.loads(make_backend(300).to_str())
    (folder / "tokenizer.json").write_text(json.dumps(fields | changes))


@pytest.mark.parametrize("changes", AT_ONCE.values(), ids=AT_ONCE)
def test_one_that_cannot_be_loaded_is_refused(
    changes: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, changes)
    source = make_source(tmp_path, GPT2 | {"vocab_size": 300})
    with pytest.raises(InputError, match=r"tokenizer\.json is not a tokenizer") as refused:
        load_tokenizer(source)
    assert "\n" not in str(refused.value) and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("changes", WITH_A_TEXT.values(), ids=WITH_A_TEXT)
def test_one_that_cannot_take_a_text_is_refused(
    changes: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, changes)
    tokenizer = load_tokenizer(make_source(tmp_path, GPT2 | {"vocab_size": 300}))
    for encode in (tokenizer.encode, lambda text: tokenizer.encode_sequence(text, 16)):
        with pytest.raises(InputError, match=r"tokenizer\.json is not a tokenizer") as refused:
            encode("é b")
        assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_a_text_that_is_no_utf_8_is_at_fault_itself(tmp_path: Path) -> None:
    write(tmp_path, {})
    tokenizer = load_tokenizer(make_source(tmp_path, GPT2 | {"vocab_size": 300}))
    with pytest.raises(InputError, match=r"^'a\\udcff' is not UTF-8"):
        tokenizer.encode("a\udcff")
    assert tokenizer.decode(tokenizer.encode("a")) == "a"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, SystemExit])
def test_what_ends_the_program_passes(error: type[BaseException]) -> None:
    with pytest.raises(error), as_input_errors("file"):
        raise error


def test_standard_error_is_there_again_and_need_not_be(capfd: pytest.CaptureFixture[str]) -> None:
    import os

    with pytest.raises(InputError), as_input_errors("file"):
        os.write(2, b"thread panicked")
        raise ValueError("x")
    os.write(2, b"seen")
    assert capfd.readouterr().err == "seen"
