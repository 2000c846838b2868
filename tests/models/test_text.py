import json
import sysconfig
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from topout.errors import InputError
from topout.models import text
from topout.models.source import ModelSource, resolve_model
from topout.models.text import ByteTokenizer, heldout_text, load_tokenizer, read_text

from .tiny import GPT2, LLAMA, Fields

SAMPLE = "def count(words):\n    return len(words)  # naïve → ok\n"


def make_backend(vocab_size: int) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([SAMPLE * 3], trainer)
    return backend


def make_source(folder: Path, fields: Fields) -> ModelSource:
    (folder / "config.json").write_text(json.dumps(fields))
    return resolve_model(str(folder), random_weights=True)


def test_a_trained_tokenizer_goes_there_and_back(tmp_path: Path) -> None:
    backend = make_backend(300)
    backend.enable_truncation(4)
    backend.enable_padding(length=4)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(make_source(tmp_path, GPT2 | {"vocab_size": 300, "bos_token_id": 0}))
    ids = tokenizer.encode(SAMPLE)
    assert 4 < len(ids) < len(SAMPLE.encode())  # neither cut nor padded, and merges are used
    assert tokenizer.decode(ids) == SAMPLE
    assert tokenizer.decode([0, *ids, 0]) == SAMPLE
    assert tokenizer.encode("") == []
    assert tokenizer.bos_id == 0
    assert tokenizer.description == f"tokenizer of {tmp_path.name}"


def test_vocab_and_merges_equal_tokenizer_json(tmp_path: Path) -> None:
    backend = make_backend(300)
    backend.model.save(str(tmp_path))
    source = make_source(tmp_path, GPT2 | {"vocab_size": 300})
    assert source.tokenizer_path == tmp_path / "vocab.json"
    tokenizer = load_tokenizer(source)
    assert tokenizer.encode(SAMPLE) == backend.encode(SAMPLE).ids
    assert tokenizer.decode(tokenizer.encode(SAMPLE)) == SAMPLE
    assert tokenizer.bos_id is None


def test_vocab_and_merges_of_another_family_are_refused(tmp_path: Path) -> None:
    make_backend(300).model.save(str(tmp_path))
    with pytest.raises(InputError, match="does not say how llama splits text"):
        load_tokenizer(make_source(tmp_path, LLAMA))


def test_a_tokenizer_of_a_larger_vocabulary_is_refused(tmp_path: Path) -> None:
    make_backend(300).save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(make_source(tmp_path, GPT2 | {"vocab_size": 20}))
    with pytest.raises(InputError, match="vocabulary ends at 19"):
        tokenizer.encode(SAMPLE)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": 3}', "\xff\xfe"])
def test_a_damaged_tokenizer_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"tokenizer\.json is not a tokenizer") as caught:
        load_tokenizer(make_source(tmp_path, GPT2))
    assert "\n" not in str(caught.value)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_truncated_tokenizer_is_an_input_error(data: st.DataObject, tmp_path: Path) -> None:
    make_backend(260).save(str(tmp_path / "tokenizer.json"))
    whole = (tmp_path / "tokenizer.json").read_bytes().rstrip()
    (tmp_path / "tokenizer.json").write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(InputError, match="is not a tokenizer"):
        load_tokenizer(make_source(tmp_path, GPT2))


def test_without_a_tokenizer_bytes_are_spread_over_the_vocabulary() -> None:
    tokenizer = load_tokenizer(resolve_model("gpt2", random_weights=True))
    assert isinstance(tokenizer, ByteTokenizer)
    assert "the model has no tokenizer" in tokenizer.description
    # 50257 // 256 = 196
    assert tokenizer.encode("az") == [97 * 196, 122 * 196]
    assert tokenizer.bos_id is None


@given(sample=st.text(), vocab_size=st.integers(256, 200_000))
def test_bytes_go_there_and_back(sample: str, vocab_size: int) -> None:
    tokenizer = ByteTokenizer(vocab_size)
    ids = tokenizer.encode(sample)
    assert all(0 <= i < vocab_size for i in ids)
    assert tokenizer.decode(ids) == sample


@given(vocab_size=st.integers(1, 1000), data=st.data())
def test_any_id_of_any_vocabulary_decodes(vocab_size: int, data: st.DataObject) -> None:
    tokenizer = ByteTokenizer(vocab_size)
    assert all(i < vocab_size for i in tokenizer.encode("ÿ any"))
    tokenizer.decode(data.draw(st.lists(st.integers(0, vocab_size - 1))))


# --- text -------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A standard library of three modules, one of which is missing here."""
    (tmp_path / "json").mkdir()
    (tmp_path / "a.py").write_text("a = 'ä'\n", encoding="utf-8")
    (tmp_path / "json" / "b.py").write_text("b = 2\n")
    listing = tmp_path / "heldout.json"
    listing.write_text(json.dumps({"python": "3.11", "modules": ["gone.py", "a.py", "json/b.py"]}))
    monkeypatch.setattr(text, "_HELDOUT_FILE", listing)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    return tmp_path


def test_heldout_text_takes_what_is_there(library: Path) -> None:
    held_out = heldout_text(1000)
    assert [piece.name for piece in held_out.pieces] == ["a.py", "json/b.py"]
    assert held_out.missing == ("gone.py",)
    assert held_out.text == "a = 'ä'\n\nb = 2\n"
    assert held_out.description == "held-out standard library modules: a.py, json/b.py"


def test_heldout_text_stops_when_there_is_enough(library: Path) -> None:
    assert len("a = 'ä'\n".encode()) == 9
    assert [piece.name for piece in heldout_text(9).pieces] == ["a.py"]
    assert [piece.name for piece in heldout_text(10).pieces] == ["a.py", "json/b.py"]
    assert [piece.name for piece in heldout_text(0).pieces] == ["a.py"]


def test_heldout_text_passes_over_what_is_not_utf8(library: Path) -> None:
    (library / "a.py").write_bytes(b"\xff")
    held_out = heldout_text(1)
    assert [piece.name for piece in held_out.pieces] == ["json/b.py"]
    assert held_out.missing == ("gone.py", "a.py")


def test_no_sources_at_all(library: Path) -> None:
    (library / "a.py").unlink()
    (library / "json" / "b.py").unlink()
    with pytest.raises(InputError, match=r"are not readable in .*--text FILE"):
        heldout_text(1)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"modules": 3}', '{"modules": [3]}'])
def test_a_damaged_listing(content: str | None, library: Path) -> None:
    (library / "heldout.json").unlink()
    if content is not None:
        (library / "heldout.json").write_text(content)
    with pytest.raises(InputError, match=r"heldout\.json is missing or damaged.*--text FILE"):
        heldout_text(1)


def test_a_text_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "my.txt"
    path.write_text("\ufeffeins, zwei, drüben\n", encoding="utf-8")
    assert read_text(path) == "eins, zwei, drüben\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*No such file"),
        (b"", "is empty"),
        (b" \n\t", "is empty"),
        (b"abc\xff", r"is not UTF-8 text \(byte 3\)"),
    ],
)
def test_an_unusable_text_is_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "my.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_text(path)
    with pytest.raises(InputError, match="Is a directory"):
        read_text(tmp_path)
