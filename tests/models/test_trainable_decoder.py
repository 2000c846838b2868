"""The trainable decoder: the same function as the plain one, differentiable, with dropout."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from topout.errors import InputError
from topout.models.architecture import total_parameters
from topout.models.checkpoint import decoder_recipes
from topout.models.config import architecture_of
from topout.models.decoder_dropout import DecoderDropout
from topout.models.load import load_decoder, load_transformers
from topout.models.source import resolve_model
from topout.models.trainable import load_trainable, padding_id
from topout.models.trainable_models import (
    CausalLanguageModel,
    TrainableAttention,
    check_padded_right,
)

from .tiny import GPT2, GROUPED, LLAMA, MISTRAL, QWEN3, Fields, make_source, make_tokens
from .tiny_encoders import BERT, max_error, write_reference

TOLERANCE = 1e-4
CONFIGS: dict[str, Fields] = {
    "gpt2": GPT2,
    "gpt2_untied": GPT2 | {"tie_word_embeddings": False},
    "llama": GROUPED,
    "mistral_window": MISTRAL,
    "qwen3": QWEN3,
}


def trainable(folder: Path, fields: Fields, *, dropout: bool = False) -> CausalLanguageModel:
    model = load_trainable(make_source(folder, fields), "lm", dropout=dropout)
    assert isinstance(model, CausalLanguageModel)
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_loss_and_gradients_agree(name: str, tmp_path: Path) -> None:
    model = trainable(tmp_path, CONFIGS[name])
    source = resolve_model(str(tmp_path))
    reference = load_transformers(source).requires_grad_(True)
    tokens = make_tokens(source.config.vocab_size, 2, 20)
    labels = tokens.clone()
    labels[1, 4:9] = -100
    theirs = reference(tokens, labels=labels)
    loss, logits = model(tokens, None, labels)
    assert loss is not None
    assert max_error(logits, theirs.logits) <= TOLERANCE
    assert max_error(loss, theirs.loss) <= TOLERANCE
    plain = load_decoder(source)
    with torch.inference_mode():
        assert torch.equal(plain(tokens, torch.arange(20)), logits.detach())
    theirs.loss.backward()
    loss.backward()
    named = dict(reference.named_parameters())
    for ours, recipe in decoder_recipes(source.config).items():
        pieces = [named[s].grad.t() if recipe.transposed else named[s].grad for s in recipe.sources]
        gradient = model.backbone.get_parameter(ours).grad
        assert gradient is not None
        assert max_error(gradient, torch.cat(pieces)) <= TOLERANCE
    assert sum(p.numel() for p in model.parameters()) == total_parameters(
        architecture_of(source.config)
    )


def test_names_are_those_of_the_plain_decoder(tmp_path: Path) -> None:
    model = trainable(tmp_path, GPT2)
    plain = load_decoder(resolve_model(str(tmp_path)))
    assert [n for n, _ in model.backbone.named_modules()] == [n for n, _ in plain.named_modules()]


def test_the_loss_by_hand(tmp_path: Path) -> None:
    model = trainable(tmp_path, GPT2)
    tokens = make_tokens(211, 2, 4)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    loss, logits = model(tokens, mask, tokens)
    scores = logits.log_softmax(-1)
    # Three tokens of the first row follow another, one of the second.
    places = [(0, 0), (0, 1), (0, 2), (1, 0)]
    by_hand = -sum(scores[row, s, tokens[row, s + 1]] for row, s in places) / 4
    assert loss is not None
    assert max_error(loss, by_hand) <= 1e-5
    assert model(tokens, mask)[0] is None


@pytest.mark.parametrize("fields", [GPT2, GROUPED | {"attention_dropout": 0.3}])
def test_dropout_falls_where_it_does_in_transformers(fields: Fields, tmp_path: Path) -> None:
    model = trainable(tmp_path, fields, dropout=True)
    reference = load_transformers(resolve_model(str(tmp_path))).train()
    tokens = make_tokens(150, 2, 12)

    def run(module: torch.nn.Module) -> Tensor:
        torch.manual_seed(3)
        output = module(tokens)
        return output[1] if isinstance(output, tuple) else output.logits

    assert max_error(run(model), run(reference)) <= TOLERANCE
    assert max_error(run(model), run(model.eval())) > 1e-2


def test_dropout_under_a_window(tmp_path: Path) -> None:
    model = trainable(tmp_path, MISTRAL | {"attention_dropout": 0.3}, dropout=True)
    attention = model.backbone.blocks[0].attention
    assert isinstance(attention, TrainableAttention) and attention.dropout == 0.3
    tokens = make_tokens(150, 1, 20)
    changed = tokens.clone()
    changed[0, 0] += 1
    torch.manual_seed(0)
    first = model.backbone.hidden(tokens)[0, -1]
    torch.manual_seed(0)
    # Two layers of a window of seven: what is 19 tokens back is out of sight.
    assert torch.equal(model.backbone.hidden(changed)[0, -1], first)


def test_rates() -> None:
    assert DecoderDropout.from_hugging_face(GPT2, "x") == (0.1, 0.1, 0.1)
    stated = {"embd_pdrop": 0, "attn_pdrop": 0.2, "resid_pdrop": 0.3}
    assert DecoderDropout.from_hugging_face(GPT2 | stated, "x") == (0.0, 0.2, 0.3)
    assert DecoderDropout.from_hugging_face(LLAMA, "x") == (0.0, 0.0, 0.0)
    with pytest.raises(InputError, match="`resid_pdrop` is 2"):
        DecoderDropout.from_hugging_face(GPT2 | {"resid_pdrop": 2}, "x")


def test_too_many_tokens(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="65 tokens do not fit"):
        trainable(tmp_path, GPT2)(make_tokens(211, 1, 65))


def test_an_unknown_task(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown task 'translate'"):
        load_trainable(make_source(tmp_path, GPT2), "translate")  # type: ignore[arg-type]


@pytest.mark.parametrize("mask", [None, [[1, 1, 0]], [[True, True, True]], [[2, 0, 0]]])
def test_masks_of_rows_padded_on_the_right(mask: list[list[int]] | None) -> None:
    check_padded_right(None if mask is None else torch.tensor(mask))


def test_what_rows_are_filled_with(tmp_path: Path) -> None:
    assert padding_id(make_source(tmp_path / "a", GPT2)) == 0
    assert padding_id(make_source(tmp_path / "b", GPT2 | {"pad_token_id": 7})) == 7
    assert padding_id(make_source(tmp_path / "c", GPT2 | {"pad_token_id": 211})) == 0
    from topout.models.source import resolve_encoder

    write_reference(tmp_path / "d", BERT | {"pad_token_id": 4})
    assert padding_id(resolve_encoder(str(tmp_path / "d"))) == 4
