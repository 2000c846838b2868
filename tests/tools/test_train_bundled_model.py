import json
from pathlib import Path

import pytest
import torch
from bundled_card import render_card
from bundled_corpus import (
    ALWAYS_HELD_OUT,
    Corpus,
    read_corpus,
    read_held_out,
    standard_library,
)
from bundled_publish import round_to_fp16
from bundled_scoring import measure_agreement, score, scored_windows
from bundled_tokenizer import END_OF_TEXT_ID, encode_document, train_tokenizer
from bundled_training import Batches, Plan, Shape, build_model, load_checkpoint, train
from hypothesis import given, settings
from hypothesis import strategies as st
from train_bundled_model import Member, Recipe, learn_tokenizer, run_stages
from transformers import GPT2LMHeadModel

TINY_VOCAB = 300
TINY = Recipe(
    target=Member("big", Shape(TINY_VOCAB, 64, 2, 2, 32), Plan(6, batch_size=2, warmup_steps=2)),
    draft=Member(
        "small",
        Shape(TINY_VOCAB, 32, 1, 1, 32),
        Plan(4, batch_size=2, warmup_steps=1, distillation_weight=0.5),
    ),
)


def function_source(number: int) -> str:
    return f"def add_{number}(value):\n    total = value + {number}\n    return total\n\n\n"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    (folder / "test").mkdir()
    (folder / "plain.py").write_text("".join(map(function_source, range(40))))
    (folder / "csv.py").write_text("".join(map(function_source, range(40, 60))))
    (folder / "copy_of_csv.py").write_text((folder / "csv.py").read_text())
    (folder / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\nname = '\xe9'\n")
    (folder / "test" / "test_csv.py").write_text("import csv\n")
    (folder / "_sysconfigdata__linux.py").write_text("build_time_vars = {}\n")
    return folder


@pytest.fixture(scope="module")
def corpus(library: Path) -> Corpus:
    return read_corpus(library)


@pytest.fixture(scope="module")
def trained(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("work")
    run_stages(("target", "draft", "publish"), TINY, corpus, work, work / "out")
    return work


def test_corpus_leaves_out_tests_generated_files_other_encodings_and_copies(
    corpus: Corpus,
) -> None:
    assert set(corpus.training) == {"plain.py"}
    assert set(corpus.held_out) == {"csv.py"}


def test_held_out_modules_are_never_trained_on() -> None:
    corpus = read_corpus(standard_library())
    assert corpus.held_out.keys() >= ALWAYS_HELD_OUT
    assert not corpus.held_out.keys() & corpus.training.keys()
    assert not set(corpus.held_out.values()) & set(corpus.training.values())
    assert sum(len(text.encode()) for text in corpus.held_out.values()) >= 150_000


def test_all_stages_write_folders_that_transformers_loads(trained: Path, corpus: Corpus) -> None:
    out = trained / "out"
    record = json.loads((out / "training.json").read_text())
    for name, layers in (("big", 2), ("small", 1)):
        model = GPT2LMHeadModel.from_pretrained(out / name, dtype=torch.float32)
        assert model.config.n_layer == layers
        assert sum(p.numel() for p in model.parameters()) == record["models"][name]["parameters"]
        assert record["models"][name]["curve"][-1][0] == record["models"][name]["plan"]["steps"]
    assert json.loads((out / "heldout.json").read_text())["modules"] == ["csv.py"]
    assert (out / "README.md").read_bytes().decode() == render_card(record)


def test_published_loss_is_that_of_the_published_file(
    trained: Path, corpus: Corpus, library: Path
) -> None:
    out = trained / "out"
    record = json.loads((out / "training.json").read_text())
    texts = read_held_out(out / "heldout.json", library)
    assert texts == corpus.held_out
    tokenizer = learn_tokenizer(TINY, corpus, trained)
    documents = [encode_document(tokenizer, text) for text in texts.values()]
    model = GPT2LMHeadModel.from_pretrained(out / "big", dtype=torch.float32)
    again = score(model, documents, len(texts["csv.py"].encode()))
    published = record["models"]["big"]["held_out"]["fp16"]
    assert again.nats_per_token == pytest.approx(published["nats_per_token"], rel=1e-4)


def test_training_lowers_the_loss(corpus: Corpus, tmp_path: Path) -> None:
    stream = torch.arange(2000) % 50
    model = build_model(Shape(50, 32, 1, 1, 16), seed=1)
    document = [stream[:200].tolist()]
    before = score(model, document, 200).nats_per_token
    train(model, stream, Plan(30, batch_size=4, warmup_steps=3), tmp_path)
    assert score(model, document, 200).nats_per_token < 0.7 * before


def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    stream = torch.randint(50, (2000,), generator=torch.Generator().manual_seed(3))
    shape = Shape(50, 32, 1, 1, 16)
    # Without a descent, the half's rates are those of the whole run's first half.
    whole, half = (Plan(n, batch_size=4, warmup_steps=2, decay_fraction=0.0) for n in (8, 4))
    uninterrupted = build_model(shape, seed=1)
    train(uninterrupted, stream, whole, tmp_path / "whole")
    train(build_model(shape, seed=1), stream, half, tmp_path / "halves")
    resumed = build_model(shape, seed=2)
    assert train(resumed, stream, whole, tmp_path / "halves").step == whole.steps
    for one, other in zip(uninterrupted.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_publishing_before_training_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="finish its stage first"):
        run_stages(("publish",), TINY, corpus, tmp_path, tmp_path / "out")


def test_checkpoint_of_nothing_is_step_zero(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, build_model(Shape(50, 32, 1, 1, 16), 1), []).step == 0


def test_an_epoch_sees_every_window_once() -> None:
    batches = Batches(torch.arange(1000), batch_size=3, context_len=10, seed=1)
    seen = torch.cat([batches.at(step)[0][:, 0] for step in range(batches.steps_per_epoch)])
    assert len(set(seen.tolist())) == len(seen) == 3 * batches.steps_per_epoch
    inputs, targets = batches.at(0)
    assert torch.equal(inputs + 1, targets)
    assert not torch.equal(batches.at(0)[0], batches.at(batches.steps_per_epoch)[0])


def test_a_stream_too_short_for_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="give 51"):
        Batches(torch.arange(30), batch_size=4, context_len=10, seed=1)


def test_learning_rate_warms_up_stays_and_falls_to_zero() -> None:
    plan = Plan(100, warmup_steps=10, decay_fraction=0.5)
    assert plan.lr_factor(0) == pytest.approx(0.1)
    assert plan.lr_factor(30) == 1.0
    assert plan.lr_factor(75) == pytest.approx(0.5)
    assert plan.lr_factor(100) == 0.0


@given(st.integers(2, 60), st.integers(1, 20))
def test_every_token_but_the_first_is_scored_once(length: int, context_len: int) -> None:
    targets = [t for _, target in scored_windows(range(length), context_len) for t in target[0]]
    assert [int(t) for t in targets] == list(range(1, length))


def test_uniform_predictions_cost_the_log_of_the_vocabulary() -> None:
    model = build_model(Shape(64, 32, 1, 1, 16), seed=1)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    # 64 tokens: ln 64 = 4.1589 nats, 6 bits; 20 tokens over 40 bytes: 3 bits per byte
    result = score(model, [list(range(21))], 40)
    assert result.tokens == 20
    assert result.nats_per_token == pytest.approx(4.1589, abs=1e-4)
    assert result.bits_per_byte == pytest.approx(3.0)


def constant_model(probabilities: list[float]) -> GPT2LMHeadModel:
    """A model that predicts the same distribution after any text."""
    model = build_model(Shape(len(probabilities), 16, 1, 1, 16), seed=1)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    # The last norm puts out its bias alone, (1, 0, ...), which picks the table's first column.
    model.transformer.ln_f.bias.data[0] = 1.0
    model.transformer.wte.weight.data[:, 0] = torch.tensor(probabilities).log()
    return model


def test_agreement_is_that_of_the_two_distributions() -> None:
    target = constant_model([0.5, 0.3, 0.2])
    documents = [[0, 1, 2, 0, 1]]
    same = measure_agreement(target, target, documents)
    assert same.greedy == 1.0
    assert same.sampled == pytest.approx(1.0)
    # min(0.5, 0.2) + min(0.3, 0.6) + min(0.2, 0.2) = 0.7
    other = measure_agreement(constant_model([0.2, 0.6, 0.2]), target, documents)
    assert other.greedy == 0.0
    assert other.sampled == pytest.approx(0.7)


def test_rounding_gives_the_values_of_a_half_precision_file() -> None:
    model = build_model(Shape(64, 32, 1, 1, 16), seed=1)
    rounded = round_to_fp16(model)
    for exact, half in zip(model.parameters(), rounded.parameters(), strict=True):
        assert torch.equal(exact.half(), half.half())
        assert half.dtype == torch.float32
    weight = rounded.transformer.wte.weight
    assert not torch.equal(weight, model.transformer.wte.weight)
    assert rounded.lm_head.weight is weight


TOKENIZER = train_tokenizer(map(function_source, range(20)), TINY_VOCAB)


@settings(deadline=None)
@given(st.text())
def test_any_text_comes_back_unchanged(text: str) -> None:
    ids = TOKENIZER.encode(text).ids
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


def test_indentation_is_one_token() -> None:
    # "\n   " of the indentation, then " return" with the last space
    ids = TOKENIZER.encode("x\n    return").ids
    assert [TOKENIZER.decode([i]) for i in ids] == ["x", "\n   ", " return"]


def test_a_document_starts_with_end_of_text() -> None:
    assert encode_document(TOKENIZER, "x")[0] == END_OF_TEXT_ID
