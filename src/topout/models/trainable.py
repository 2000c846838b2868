"""`load_trainable`: a model of a source with the head and the loss of a task, ready to train."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from topout.errors import InputError
from topout.models.checkpoint import Recipe, decoder_recipes
from topout.models.decoder_dropout import DecoderDropout
from topout.models.encoder_checkpoint import holds_part, part_recipes, stored_labels
from topout.models.encoder_config import EncoderConfig, without_dropout
from topout.models.load import decoder_reader, encoder_reader, encoder_recipes, fill, random_tensor
from topout.models.source import AnySource, EncoderSource, ModelSource

if TYPE_CHECKING:
    import torch

    from topout.models.trainable_models import (
        CausalLanguageModel,
        MaskedLanguageModel,
        SequenceClassifier,
        TrainableDecoder,
    )

    Trainable = SequenceClassifier | MaskedLanguageModel | CausalLanguageModel

Task = Literal["classify", "lm"]


@dataclass(frozen=True)
class _Target:
    """What a model is to become, besides its task."""

    dropout: bool
    dtype: "torch.dtype"
    device: "torch.device | str"
    seed: int  # of what no checkpoint holds


def load_trainable(
    source: AnySource,
    task: Task,
    labels: int = 2,
    *,
    dropout: bool = True,
    dtype: "torch.dtype | None" = None,
    device: "torch.device | str" = "cpu",
    seed: int = 0,
) -> "Trainable":
    """A module in training mode whose forward(tokens, mask, labels) gives (loss, logits).

    "classify": `SequenceClassifier` of so many `labels`; "lm": the next token of a decoder, the
    masked tokens of an encoder. Its `backbone` has the weights of `source`, in `dtype` (default
    fp32). A head that the checkpoint does not hold, or holds for another number of labels, is made
    from `seed` and named in `new_parts`; with random weights all is made from the source's seed.
    With `dropout` False all rates are 0, else they are those of the config. Raises InputError for
    an unknown task or too few labels, WeightsError when a file cannot be read.
    """
    import torch

    if task not in ("classify", "lm"):
        raise InputError(f"unknown task {task!r}.", 'Give "classify" or "lm".')
    if source.origin == "random":
        seed = source.seed
    target = _Target(dropout, dtype or torch.float32, device, seed)
    if isinstance(source.config, EncoderConfig):
        encoder = cast(EncoderSource, source)
        if task == "lm":
            return _masked_lm(encoder, target).train()
        return _encoder_classifier(encoder, labels, target).train()
    decoder = cast(ModelSource, source)
    if task == "lm":
        return _causal_lm(decoder, target).train()
    return _decoder_classifier(decoder, labels, target).train()


def padding_id(source: AnySource) -> int:
    """The token to fill rows with: the model's own, or 0 where it states none.

    What stands there is never seen.
    """
    if isinstance(source.config, EncoderConfig):
        return source.config.pad_id or 0
    stated: object = source.config_json.get("pad_token_id")
    if type(stated) is not int or not 0 <= stated < source.config.vocab_size:
        return 0
    return stated


def _encoder_classifier(
    source: EncoderSource, labels: int, target: _Target
) -> "SequenceClassifier":
    import torch

    from topout.models.encoder import Encoder
    from topout.models.trainable_models import SequenceClassifier, needs_pooler

    config = source.config if target.dropout else without_dropout(source.config)
    with torch.device("meta"):
        encoder = Encoder(config, pooler=needs_pooler(config))
        model = SequenceClassifier(encoder, labels)
    read = encoder_reader(source, target.dtype, seed=target.seed, labels=labels)
    fill(encoder, encoder_recipes(source, encoder), read, target.device, trains=True)
    fill(model.classifier, part_recipes(config, "classifier"), read, target.device, trains=True)
    if encoder.pooler is not None and not holds_part(source.tensors, config, "pooler"):
        model.new_parts.append("pooler")
    if stored_labels(source.tensors, config) != labels:
        model.new_parts.append("classifier")
    return model


def _masked_lm(source: EncoderSource, target: _Target) -> "MaskedLanguageModel":
    import torch

    from topout.models.trainable_models import MaskedLanguageModel

    config = source.config if target.dropout else without_dropout(source.config)
    with torch.device("meta"):
        model = MaskedLanguageModel(config)
    read = encoder_reader(source, target.dtype, seed=target.seed)
    fill(model.backbone, part_recipes(config, "encoder"), read, target.device, trains=True)
    fill(model, part_recipes(config, "masked_head"), read, target.device, trains=True)
    model.tie()
    if not holds_part(source.tensors, config, "masked_head"):
        model.new_parts.append("masked_head")
    return model


def _causal_lm(source: ModelSource, target: _Target) -> "CausalLanguageModel":
    import torch

    from topout.models.trainable_models import CausalLanguageModel

    with torch.device("meta"):
        model = CausalLanguageModel(source.config, _decoder_dropout(source, target))
    _fill_decoder(model.backbone, source, decoder_recipes(source.config), target)
    if source.config.tied_head:
        model.backbone.head.weight = model.backbone.token_embedding.weight
    return model.to(target.device)


def _decoder_classifier(source: ModelSource, labels: int, target: _Target) -> "SequenceClassifier":
    import torch
    from torch import nn

    from topout.models.trainable_models import SequenceClassifier, TrainableDecoder

    with torch.device("meta"):
        decoder = TrainableDecoder(source.config, _decoder_dropout(source, target), has_head=False)
        model = SequenceClassifier(decoder, labels)
    recipes = decoder_recipes(source.config)
    recipes.pop("head.weight", None)
    _fill_decoder(decoder, source, recipes, target)
    shape = (labels, source.config.width)
    model.classifier.output.weight = nn.Parameter(
        random_tensor("score.weight", shape, target.seed, target.dtype)
    )
    model.new_parts.append("classifier")
    return model.to(target.device)


def _fill_decoder(
    decoder: "TrainableDecoder",
    source: ModelSource,
    recipes: dict[str, Recipe],
    target: _Target,
) -> None:
    fill(decoder, recipes, decoder_reader(source, target.dtype), target.device, trains=True)


def _decoder_dropout(source: ModelSource, target: _Target) -> DecoderDropout:
    if not target.dropout:
        return DecoderDropout(0.0, 0.0, 0.0)
    return DecoderDropout.from_hugging_face(source.config_json, source.name)
