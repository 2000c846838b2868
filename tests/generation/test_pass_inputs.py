"""What goes into models of one pass: whole sequences with their special tokens, made images."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors

from tests.models.tiny_passes import write_pass
from topout.errors import InputError, UnsupportedError
from topout.generation.pass_inputs import (
    WINDOWS,
    count_pass,
    cut_inputs,
    made_images,
    special_tokens,
)
from topout.generation.texts import PROMPTS
from topout.models.pass_model import resolve_pass
from topout.models.source import PassSource
from topout.models.text import ByteTokenizer, load_tokenizer
from topout.records import WorkloadSummary

WORKLOAD = WorkloadSummary(
    task="forward",
    prompt_len=9,
    new_tokens=0,
    batch_size=2,
    threads=1,
    device="cpu",
    dtype="fp32",
    temperature=0.0,
)
WORDS = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "b": 4, "c": 5, "d": 6, "[UNK]": 7}


def encoder(folder: Path) -> PassSource:
    """A tiny BERT whose tokenizer puts [CLS] before a text and [SEP] behind it."""
    write_pass(folder, "bert")
    tokenizer = Backend(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[CLS]", "[SEP]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return resolve_pass(str(folder))


def test_sequences_are_whole_and_of_the_text_in_its_order(tmp_path: Path) -> None:
    source, text = encoder(tmp_path / "bert"), tmp_path / "text.txt"
    text.write_text("a b c d " * 200)
    texts = cut_inputs(source, WORKLOAD, [str(text)], tmp_path / "cut.safetensors")
    found = load_file(texts.path)
    assert found["prompts"].shape == (PROMPTS, 2, 9)
    assert found["windows"].shape == (WINDOWS, 9)
    first = found["prompts"][0, 0].tolist()
    assert first == [1, 3, 4, 5, 6, 3, 4, 5, 2]  # [CLS] a b c d a b c [SEP]
    assert found["prompts"][0, 1].tolist() == [1, 6, 3, 4, 5, 6, 3, 4, 2]  # what follows
    assert texts.description == str(text) and texts.prompt_lens == (9,) * WINDOWS
    assert texts.bytes_per_token == {str(text): 2.0}


def test_windows_fill_whole_batches(tmp_path: Path) -> None:
    source, text = encoder(tmp_path / "bert"), tmp_path / "text.txt"
    text.write_text("a b c d " * 200)
    workload = WorkloadSummary(**{**_fields(WORKLOAD), "batch_size": 5})
    found = load_file(cut_inputs(source, workload, [str(text)], tmp_path / "cut").path)
    assert found["windows"].shape[0] == 35


def _fields(workload: WorkloadSummary) -> dict[str, object]:
    return {name: getattr(workload, name) for name in workload.__struct_fields__}


def test_two_texts_take_turns(tmp_path: Path) -> None:
    source = encoder(tmp_path / "bert")
    paths = [tmp_path / "one.txt", tmp_path / "two.txt"]
    for path, word in zip(paths, "ab", strict=True):
        path.write_text(f"{word} " * 500)
    texts = cut_inputs(source, WORKLOAD, [str(path) for path in paths], tmp_path / "cut")
    rows = load_file(texts.path)["windows"]
    assert set(rows[:, 1].tolist()) == {3, 4}
    assert (rows[0::2, 1] == rows[0, 1]).all() and (rows[1::2, 1] == rows[1, 1]).all()


def test_a_text_or_a_length_that_is_too_short_is_refused(tmp_path: Path) -> None:
    source, text = encoder(tmp_path / "bert"), tmp_path / "text.txt"
    text.write_text("a b c")
    with pytest.raises(InputError, match="has 3 tokens, and a sequence takes 7"):
        cut_inputs(source, WORKLOAD, [str(text)], tmp_path / "cut")
    short = WorkloadSummary(**{**_fields(WORKLOAD), "prompt_len": 2})
    with pytest.raises(InputError, match="leaves no room") as refused:
        cut_inputs(source, short, [str(text)], tmp_path / "cut")
    assert "--prompt-len 3" in refused.value.remedy


def test_special_tokens_are_those_of_the_tokenizer(tmp_path: Path) -> None:
    assert special_tokens(load_tokenizer(encoder(tmp_path))) == ([1], [2])
    assert special_tokens(ByteTokenizer(512)) == ([], [])


def test_images_are_made_from_the_seed_and_take_no_text(tmp_path: Path) -> None:
    write_pass(tmp_path / "vit", "vit")
    source = resolve_pass(str(tmp_path / "vit"))
    texts = cut_inputs(source, WORKLOAD, None, tmp_path / "cut")
    found = load_file(texts.path)
    assert found["prompts"].shape == (PROMPTS, 2, 3, 32, 32)
    assert found["windows"].shape == (WINDOWS, 3, 32, 32)
    assert "made" in texts.description
    with pytest.raises(InputError, match="takes images"):
        cut_inputs(source, WORKLOAD, ["some.txt"], tmp_path / "cut")


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 3),
    channels=st.integers(1, 4),
    size=st.integers(2, 40),
    seed=st.integers(0, 2**31),
)
def test_made_images_are_normal_and_repeatable(
    count: int, channels: int, size: int, seed: int
) -> None:
    images = made_images(count, channels, size, seed)
    assert images.shape == (count, channels, size, size) and torch.isfinite(images).all()
    flat = images.flatten(1)
    assert flat.mean(1).abs().max() < 1e-4
    assert (flat.std(1) - 1).abs().max() < 1e-3
    assert torch.equal(images, made_images(count, channels, size, seed))


def test_a_pass_that_no_formula_counts_is_counted_by_its_module(tmp_path: Path) -> None:
    write_pass(tmp_path, "bert")
    counted = count_pass(resolve_pass(str(tmp_path)), 9)
    # 2 blocks: Q, K, V, output 4·48², MLP 2·48·100, for 9 tokens; attention 4·9²·48; pooler 48².
    by_hand = 2 * (2 * 9 * (4 * 48 * 48 + 2 * 48 * 100) + 4 * 9 * 9 * 48) + 2 * 48 * 48
    assert counted == by_hand
    write_pass(tmp_path / "convnext", "convnext")
    assert count_pass(resolve_pass(str(tmp_path / "convnext")), 0) > 1e5


def test_a_module_that_looks_into_values_is_counted_with_values(tmp_path: Path) -> None:
    write_pass(tmp_path, "deberta")
    counted = count_pass(resolve_pass(str(tmp_path)), 9)
    # 2 blocks: Q, K, V, output 4·48², MLP 2·48·100, for 9 tokens; scores and values 4·9²·48.
    assert counted >= 2 * (2 * 9 * (4 * 48 * 48 + 2 * 48 * 100) + 4 * 9 * 9 * 48)


def test_what_a_batch_alone_does_not_run_is_refused(tmp_path: Path) -> None:
    write_pass(tmp_path, "xmod")
    with pytest.raises(UnsupportedError, match=r"does not make XmodModel run .*language"):
        count_pass(resolve_pass(str(tmp_path)), 9)
