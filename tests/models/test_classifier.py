"""Sequence classifiers on encoders and decoders against transformers'."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from topout.errors import InputError
from topout.models.checkpoint import Recipe, decoder_recipes
from topout.models.encoder import Encoder
from topout.models.encoder_config import EncoderConfig
from topout.models.source import AnySource, resolve_encoder, resolve_model
from topout.models.trainable import load_trainable
from topout.models.trainable_models import SequenceClassifier

from .tiny import GPT2, GROUPED, MISTRAL, make_source
from .tiny_encoders import (
    BERT,
    DISTILBERT,
    FAMILIES,
    PREFIXES,
    Fields,
    make_batch,
    make_reference,
    max_error,
    reference_inputs,
    write_reference,
)

TOLERANCE = 1e-4
DECODERS: dict[str, Fields] = {
    "gpt2": GPT2 | {"pad_token_id": 0},
    "distilgpt2": GPT2 | {"pad_token_id": 0, "n_layer": 1, "n_embd": 72, "n_head": 6},
    "llama": GROUPED | {"pad_token_id": 0},
}


def classifier_of(folder: Path, labels: int = 2, *, dropout: bool = False) -> SequenceClassifier:
    model = load_trainable(resolve_encoder(str(folder)), "classify", labels, dropout=dropout)
    assert isinstance(model, SequenceClassifier)
    return model


def assert_grads_agree(ours: Tensor | None, theirs: Tensor) -> None:
    assert ours is not None
    assert max_error(ours, theirs) <= TOLERANCE * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("length", [1, 9, 32])
def test_an_encoder_agrees(name: str, length: int, tmp_path: Path) -> None:
    fields = FAMILIES[name] | {"num_labels": 3}
    reference = write_reference(tmp_path, fields, "ForSequenceClassification")
    model = classifier_of(tmp_path, 3)
    assert model.training and model.new_parts == []
    tokens, mask, types = make_batch(fields, 4, length, types=name == "bert")
    labels = torch.tensor([0, 2, 1, 2])
    theirs = reference(**reference_inputs(tokens, mask, types), labels=labels)
    loss, logits = model(tokens, mask, labels, **types)
    assert loss is not None and theirs.logits.std() > 0.1
    assert max_error(logits, theirs.logits) <= TOLERANCE
    assert max_error(loss, theirs.loss) <= TOLERANCE
    theirs.loss.backward()
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    for ours, named in (("classifier.output", _output_name(name)), *_pooler_name(name)):
        for kind in ("weight", "bias"):
            expected = reference.get_parameter(f"{named}.{kind}").grad
            assert_grads_agree(model.get_parameter(f"{ours}.{kind}").grad, expected)
    embedding = reference.base_model.embeddings.word_embeddings.weight.grad
    assert_grads_agree(model.backbone.token_embedding.weight.grad, embedding)
    assert sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for p in reference.parameters()
    )


def _output_name(name: str) -> str:
    return "classifier.out_proj" if "roberta" in name else "classifier"


def _pooler_name(name: str) -> list[tuple[str, str]]:
    return {
        "bert": [("backbone.pooler", "bert.pooler.dense")],
        "distilbert": [("classifier.dense", "pre_classifier")],
    }.get(name, [("classifier.dense", "classifier.dense")])


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert"])
def test_dropout_falls_where_it_does_in_transformers(name: str, tmp_path: Path) -> None:
    reference = write_reference(tmp_path, FAMILIES[name], "ForSequenceClassification").train()
    model = classifier_of(tmp_path, dropout=True)
    tokens, mask, _ = make_batch(FAMILIES[name], 3, 9)
    torch.manual_seed(4)
    theirs = reference(**reference_inputs(tokens, mask, {})).logits
    torch.manual_seed(4)
    assert max_error(model(tokens, mask)[1], theirs) <= TOLERANCE
    assert max_error(model(tokens, mask)[1], theirs) > 1e-2


# --- decoders ---------------------------------------------------------------------------------


def make_pair(fields: Fields, folder: Path, labels: int = 3) -> tuple[SequenceClassifier, Any]:
    """Our classifier on a decoder, and transformers' with the same weights."""
    source = make_source(folder, fields)
    model = load_trainable(source, "classify", labels, dropout=False)
    assert isinstance(model, SequenceClassifier)
    reference = make_reference(fields | {"num_labels": labels}, "ForSequenceClassification")
    ours, theirs = dict(model.backbone.named_parameters()), dict(reference.named_parameters())
    for name, recipe in decoder_recipes(source.config).items():
        if name != "head.weight":
            _set(theirs, recipe, ours[name].detach())
    reference.score.weight.data = model.classifier.output.weight.detach().clone()
    return model, reference


def _set(theirs: dict[str, Any], recipe: Recipe, whole: Tensor) -> None:
    sizes = [theirs[s].shape[1 if recipe.transposed else 0] for s in recipe.sources]
    for name, piece in zip(recipe.sources, whole.split(sizes), strict=True):
        theirs[name].data = (piece.t() if recipe.transposed else piece).clone()


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("length", [1, 8, 40])
def test_a_decoder_agrees(name: str, length: int, tmp_path: Path) -> None:
    fields = DECODERS[name]
    model, reference = make_pair(fields, tmp_path)
    model.classifier.output.weight.data *= 50  # not flat, so that agreement means something
    reference.score.weight.data *= 50
    tokens, mask, _ = make_batch(fields, 3, length)
    labels = torch.tensor([1, 0, 2])
    theirs = reference(**reference_inputs(tokens, mask, {}), labels=labels)
    loss, logits = model(tokens, mask, labels)
    assert loss is not None and theirs.logits.std() > 0.1
    assert max_error(logits, theirs.logits) <= TOLERANCE
    assert max_error(loss, theirs.loss) <= TOLERANCE
    theirs.loss.backward()
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    named = dict(reference.named_parameters())
    recipes = decoder_recipes(model.config)
    recipes.pop("head.weight", None)
    for ours, recipe in recipes.items():
        pieces = [named[s].grad.t() if recipe.transposed else named[s].grad for s in recipe.sources]
        assert_grads_agree(model.backbone.get_parameter(ours).grad, torch.cat(pieces))


def test_what_follows_a_row_does_not_reach_it(tmp_path: Path) -> None:
    model, _ = make_pair(DECODERS["gpt2"], tmp_path)
    tokens, mask, _ = make_batch(DECODERS["gpt2"], 3, 10)
    filled = torch.where(mask, tokens, 77)
    assert torch.equal(model(tokens, mask)[1], model(filled, mask)[1])
    alone = model(tokens[1:2, :8])[1]
    assert max_error(model(tokens, mask)[1][1:2], alone) <= TOLERANCE


@pytest.mark.parametrize(
    "mask", [[[0, 1, 1]], [[1, 0, 1]], [[0, 0, 0]]], ids=["left", "between", "empty"]
)
def test_a_decoder_refuses_other_padding(mask: list[list[int]], tmp_path: Path) -> None:
    model, _ = make_pair(DECODERS["gpt2"], tmp_path)
    with pytest.raises(InputError, match="padding before a token, or no token"):
        model(torch.ones(1, 3, dtype=torch.int64), torch.tensor(mask))


def test_a_decoder_has_no_token_types(tmp_path: Path) -> None:
    model, _ = make_pair(DECODERS["gpt2"], tmp_path)
    tokens = torch.ones(1, 3, dtype=torch.int64)
    with pytest.raises(InputError, match="has no token types"):
        model(tokens, token_types=tokens)


def test_a_window_holds_in_training(tmp_path: Path) -> None:
    # Seven tokens are seen: the one before them does not reach the last.
    source = make_source(tmp_path, MISTRAL | {"num_hidden_layers": 1})
    model = load_trainable(source, "classify", dropout=False)
    tokens = torch.arange(3, 13)[None]
    near, far = tokens.clone(), tokens.clone()
    far[0, -8], near[0, -7] = 1, 1
    logits = [model(each)[1] for each in (tokens, far, near)]
    assert max_error(logits[0], logits[1]) <= 1e-6 < max_error(logits[0], logits[2])


# --- heads of no checkpoint -------------------------------------------------------------------


def test_another_number_of_labels_makes_a_new_head(tmp_path: Path) -> None:
    write_reference(tmp_path, DISTILBERT, "ForSequenceClassification")
    same, other = classifier_of(tmp_path, 2), classifier_of(tmp_path, 5)
    assert (same.new_parts, other.new_parts) == ([], ["classifier"])
    assert same.classifier.dense.bias.any() and not other.classifier.dense.bias.any()
    assert other.classifier.output.weight.shape == (5, 48)
    assert abs(float(other.classifier.output.weight.detach().std()) - 0.02) < 0.005


def test_a_bare_checkpoint_gets_a_head_from_the_seed(tmp_path: Path) -> None:
    write_reference(tmp_path, BERT, "ForMaskedLM")
    source = resolve_encoder(str(tmp_path))
    models = [load_trainable(source, "classify", seed=seed) for seed in (0, 0, 1)]
    assert models[0].new_parts == ["pooler", "classifier"]
    first, same, other = (model.classifier.output.weight for model in models)
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert torch.equal(models[0].backbone.blocks[0].mlp.up.weight, source_weight(source))
    assert torch.equal(models[2].backbone.blocks[0].mlp.up.weight, source_weight(source))


def source_weight(source: AnySource) -> Tensor:
    from safetensors.torch import load_file

    assert source.folder is not None
    tensors = load_file(source.folder / "model.safetensors")
    return tensors["bert.encoder.layer.0.intermediate.dense.weight"]


def test_a_head_of_another_task_is_not_taken(tmp_path: Path) -> None:
    # Its tensors have the names and shapes of a sequence classifier's.
    write_reference(tmp_path, BERT, "ForTokenClassification")
    assert classifier_of(tmp_path).new_parts == ["pooler", "classifier"]


def test_random_weights_are_all_of_the_seed_of_the_source() -> None:
    def weights(seed: int, head_seed: int) -> list[Tensor]:
        source = resolve_model("pycode-1m", random_weights=True, seed=seed)
        model = load_trainable(source, "classify", seed=head_seed)
        return [model.classifier.output.weight, model.backbone.token_embedding.weight]

    first, same, other = weights(0, 0), weights(0, 7), weights(7, 0)
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_too_few_labels() -> None:
    with pytest.raises(InputError, match="1 labels are too few"):
        SequenceClassifier(Encoder(EncoderConfig.from_hugging_face(BERT, "tiny")), 1)


# --- training ---------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(
    family=st.sampled_from([*FAMILIES, "gpt2", "llama"]),
    labels=st.integers(2, 6),
    batch_size=st.integers(1, 4),
    length=st.integers(1, 20),
)
def test_any_batch_has_a_finite_loss_and_gradient(
    family: str, labels: int, batch_size: int, length: int
) -> None:
    fields = (FAMILIES | DECODERS)[family]
    assert family in PREFIXES
    model = _random(fields, labels)
    tokens, mask, _ = make_batch(fields, batch_size, length)
    loss, logits = model(tokens, mask, torch.arange(batch_size) % labels)
    assert logits.shape == (batch_size, labels)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def _random(fields: Fields, labels: int) -> Any:
    import json
    import tempfile

    from topout.models.source import resolve_source

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(fields))
        return load_trainable(resolve_source(folder, random_weights=True), "classify", labels)


@pytest.mark.parametrize("fields", [DISTILBERT, DECODERS["gpt2"]], ids=["distilbert", "gpt2"])
def test_training_learns_what_a_token_means(fields: Fields) -> None:
    model = _random(fields, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(40):
        labels = torch.randint(2, (16,), generator=generator)
        tokens = torch.randint(5, 90, (16, 6), generator=generator)
        tokens[:, 3] = 3 + labels
        loss, _ = model(tokens, torch.ones_like(tokens), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert sum(losses[:5]) / 5 > 0.5 and sum(losses[-5:]) / 5 < 0.2


def test_bf16_weights(tmp_path: Path) -> None:
    write_reference(tmp_path, BERT, "ForSequenceClassification")
    exact = classifier_of(tmp_path)
    model = load_trainable(
        resolve_encoder(str(tmp_path)), "classify", dropout=False, dtype=torch.bfloat16
    )
    tokens, mask, _ = make_batch(BERT, 3, 9)
    loss, logits = model(tokens, mask, torch.tensor([0, 1, 1]))
    assert (logits.dtype, loss.dtype) == (torch.bfloat16, torch.float32)
    assert 0 < max_error(logits.float(), exact(tokens, mask)[1]) < 0.2
