"""The safetensors checkpoint of an encoder: the names and shapes of its tensors, part by part.

A checkpoint holds the bare model, or one of its heads with it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from topout.errors import WeightsError
from topout.models.checkpoint import (
    Recipe,
    Shape,
    StoredTensor,
    check_tensors,
    read_header,
    refuse_names,
    stored_shapes,
)
from topout.models.encoder_config import EncoderConfig

Part = Literal["encoder", "pooler", "masked_head", "classifier"]
_Recipes = Iterator[tuple[str, Recipe]]  # names of ours, and how they are made
PARTS: list[Part] = ["encoder", "pooler", "masked_head", "classifier"]

_BERT_BLOCK: dict[str, tuple[str, ...]] = {
    "attention.qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attention.output": ("attention.output.dense",),
    "attention_norm": ("attention.output.LayerNorm",),
    "mlp.up": ("intermediate.dense",),
    "mlp.down": ("output.dense",),
    "mlp_norm": ("output.LayerNorm",),
}
_DISTILBERT_BLOCK: dict[str, tuple[str, ...]] = {
    "attention.qkv": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    "attention.output": ("attention.out_lin",),
    "attention_norm": ("sa_layer_norm",),
    "mlp.up": ("ffn.lin1",),
    "mlp.down": ("ffn.lin2",),
    "mlp_norm": ("output_layer_norm",),
}


@dataclass(frozen=True)
class _Naming:
    """What one family calls its modules; the keys of `block` are ours."""

    prefix: str  # of the bare model's tensors, within a model with a head
    blocks: str
    block: dict[str, tuple[str, ...]]
    transform: str  # of the masked-language head
    transform_norm: str
    vocabulary: str
    vocabulary_bias: str
    classifier_dense: str | None
    classifier_output: str


_ROBERTA = _Naming(
    prefix="roberta.",
    blocks="encoder.layer",
    block=_BERT_BLOCK,
    transform="lm_head.dense",
    transform_norm="lm_head.layer_norm",
    vocabulary="lm_head.decoder",
    vocabulary_bias="lm_head.bias",
    classifier_dense="classifier.dense",
    classifier_output="classifier.out_proj",
)
_NAMINGS = {
    "bert": _Naming(
        prefix="bert.",
        blocks="encoder.layer",
        block=_BERT_BLOCK,
        transform="cls.predictions.transform.dense",
        transform_norm="cls.predictions.transform.LayerNorm",
        vocabulary="cls.predictions.decoder",
        vocabulary_bias="cls.predictions.bias",
        classifier_dense=None,
        classifier_output="classifier",
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "distilbert": _Naming(
        prefix="distilbert.",
        blocks="transformer.layer",
        block=_DISTILBERT_BLOCK,
        transform="vocab_transform",
        transform_norm="vocab_layer_norm",
        vocabulary="vocab_projector",
        vocabulary_bias="vocab_projector.bias",
        classifier_dense="pre_classifier",
        classifier_output="classifier",
    ),
}


def part_shapes(config: EncoderConfig, part: Part, labels: int) -> dict[str, Shape]:
    """Name → shape of every tensor that a checkpoint holds for a part, in transformers' names.

    `labels` are those of the classifier. A tied vocabulary matrix is no tensor of its own.
    """
    return stored_shapes(dict(_part_recipes(config, part, labels)))


def part_recipes(config: EncoderConfig, part: Part) -> dict[str, Recipe]:
    """Name of each parameter of a part of ours → how it is made."""
    return dict(_part_recipes(config, part, 1))


def canonical_name(name: str, config: EncoderConfig) -> str | None:
    """The name of a stored tensor in transformers' model with a head; None for one of no use.

    Takes the names of the bare model, the `gamma` and `beta` of old checkpoints, and the second
    name of a tied head's biases. Of no use are position numbers, copies of tied tensors, and the
    heads of other tasks; what no part of the encoder accounts for keeps its name.
    """
    naming = _NAMINGS[config.family]
    name = _modern(name)
    if name.endswith("embeddings.position_ids"):
        return None
    for start in ("embeddings.", f"{naming.blocks}.", "pooler."):
        if name.startswith(start):
            return naming.prefix + name
    if name.startswith(naming.prefix):
        return name
    if name == f"{naming.vocabulary}.weight" and config.tied_head:
        return None
    if name == f"{naming.vocabulary}.bias" and config.tied_head:
        return naming.vocabulary_bias
    heads = (*part_shapes(config, "masked_head", 1), *part_shapes(config, "classifier", 1))
    return name if name in heads else None


def is_second_name(name: str, config: EncoderConfig) -> bool:
    """Whether a stored tensor is a copy that a tied head's biases are also stored as."""
    naming = _NAMINGS[config.family]
    second = f"{naming.vocabulary}.bias"
    return config.tied_head and name == second != naming.vocabulary_bias


def _modern(name: str) -> str:
    stem, _, last = name.rpartition(".")
    if stem.endswith("LayerNorm") and last in ("gamma", "beta"):
        return f"{stem}.{'weight' if last == 'gamma' else 'bias'}"
    return name


def _part_recipes(config: EncoderConfig, part: Part, labels: int) -> _Recipes:
    naming, width = _NAMINGS[config.family], config.width
    match part:
        case "encoder":
            yield from _encoder_recipes(config, naming)
        case "pooler" if config.pools:
            yield from _layer("pooler", (f"{naming.prefix}pooler.dense",), (width, width))
        case "pooler":
            return
        case "masked_head":
            yield from _layer("transform", (naming.transform,), (width, width))
            yield from _layer("transform_norm", (naming.transform_norm,), (width,))
            if not config.tied_head:
                yield from _layer("head", (naming.vocabulary,), (config.vocab_size, width))
            else:
                yield "head.bias", Recipe({naming.vocabulary_bias: (config.vocab_size,)})
        case "classifier":
            if naming.classifier_dense is not None:
                yield from _layer("dense", (naming.classifier_dense,), (width, width))
            yield from _layer("output", (naming.classifier_output,), (labels, width))


def _encoder_recipes(config: EncoderConfig, naming: _Naming) -> _Recipes:
    width, mlp_width = config.width, config.mlp_width
    embeddings = f"{naming.prefix}embeddings"
    tables = {
        "token_embedding": ("word_embeddings", "tokens"),
        "position_embedding": ("position_embeddings", "positions"),
        "token_type_embedding": ("token_type_embeddings", "token_types"),
    }
    for ours, (theirs, table) in tables.items():
        if rows := config.table_rows(table):
            yield f"{ours}.weight", Recipe({f"{embeddings}.{theirs}.weight": (rows, width)})
    yield from _layer("embedding_norm", (f"{embeddings}.LayerNorm",), (width,))
    shapes: dict[str, Shape] = {
        "attention.qkv": (width, width),  # each of the three
        "attention.output": (width, width),
        "mlp.up": (mlp_width, width),
        "mlp.down": (width, mlp_width),
    }
    for layer in range(config.layers):
        for ours, modules in naming.block.items():
            theirs_here = tuple(f"{naming.prefix}{naming.blocks}.{layer}.{m}" for m in modules)
            yield from _layer(f"blocks.{layer}.{ours}", theirs_here, shapes.get(ours, (width,)))


def _layer(ours: str, theirs: tuple[str, ...], weight: Shape) -> _Recipes:
    """Weight and bias of a linear layer or of a norm."""
    for kind, shape in (("weight", weight), ("bias", weight[:1])):
        yield f"{ours}.{kind}", Recipe({f"{name}.{kind}": shape for name in theirs})


def read_encoder_tensors(files: list[Path], config: EncoderConfig) -> dict[str, StoredTensor]:
    """Canonical name → stored tensor: the whole encoder, and the heads that are there.

    A pooler, a masked-language head and a classifier may be absent; heads of other tasks are left
    out. Raises WeightsError that names the file or the tensor which is truncated, missing,
    unexpected, stored twice, of another shape or of a type that is not a float.
    """
    tensors: dict[str, StoredTensor] = {}
    for tensor in _with_second_names_last(files, config):
        name = canonical_name(tensor.name, config)
        if name is None:
            continue
        if name in tensors and is_second_name(tensor.name, config):
            continue
        if name in tensors:
            raise WeightsError(
                f"{tensor.file} and {tensors[name].file} both hold the tensor {name}.",
                "Keep one of them.",
            )
        tensors[name] = tensor
    shapes = part_shapes(config, "encoder", 1)
    optional: dict[str, Shape] = {}
    parts: list[Part] = ["pooler", "masked_head"]
    if config.stores_classifier:
        parts.append("classifier")
    for part in parts:
        optional |= _stored_part(part, tensors, config)
    _check_names(tensors, shapes, optional, files[0].parent)
    used = {name: tensor for name, tensor in tensors.items() if name in shapes | optional}
    check_tensors(used, shapes | optional)
    return used


def stored_labels(tensors: Mapping[str, StoredTensor], config: EncoderConfig) -> int | None:
    """The classes of the classifier that a checkpoint holds; None without one."""
    # Its output layer comes last.
    *_, last = part_shapes(config, "classifier", 1)
    return tensors[last].shape[0] if last in tensors and tensors[last].shape else None


def holds_part(tensors: Mapping[str, StoredTensor], config: EncoderConfig, part: Part) -> bool:
    """Whether a checkpoint holds a part, at all."""
    return any(name in tensors for name in part_shapes(config, part, 1))


def _with_second_names_last(files: list[Path], config: EncoderConfig) -> list[StoredTensor]:
    stored = [tensor for file in files for tensor in read_header(file).values()]
    return sorted(stored, key=lambda tensor: is_second_name(tensor.name, config))


def _stored_part(
    part: Part, tensors: Mapping[str, StoredTensor], config: EncoderConfig
) -> dict[str, Shape]:
    """The shapes of a part that is there; empty for one that is not."""
    labels = stored_labels(tensors, config) or 1
    return part_shapes(config, part, labels) if holds_part(tensors, config, part) else {}


def _check_names(
    tensors: Mapping[str, StoredTensor],
    shapes: Mapping[str, Shape],
    optional: Mapping[str, Shape],
    folder: Path,
) -> None:
    expected = {**shapes, **optional}
    missing = expected.keys() - tensors.keys()
    # A stored layer more than config.json has; a classifier of another task is no fault.
    stem = next(iter(shapes)).partition(".")[0]
    besides = {name for name in tensors.keys() - expected.keys() if name.startswith(f"{stem}.")}
    refuse_names(folder, missing, besides)
