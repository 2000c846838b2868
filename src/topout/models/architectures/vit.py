"""The Vision Transformer: an encoder over the patches of an image and one class token."""

import msgspec

from topout.errors import InputError, UnsupportedError
from topout.models.architecture import (
    Architecture,
    Attention,
    Block,
    Convolution,
    Embedding,
    Head,
    Mlp,
)
from topout.models.architectures.stated_class import label_count, notes, stated_classes
from topout.models.config import check_heads, read_activation, read_weights_dtype
from topout.models.fields import Fields


def read_vit(fields: Fields, image_size: int | None = None) -> Architecture:
    """A classifier of images, or the bare model where `architectures` says so.

    `image_size` in pixels stands in for the config's; the table of positions stays as trained and
    is stretched. Raises InputError when the patches do not cover the image.
    """
    width = fields.integer("hidden_size")
    trained = _patches(fields, _pair(fields, "image_size", 224))
    size = _pair(fields, "image_size", 224) if image_size is None else [image_size, image_size]
    rows, columns = _patches(fields, size)
    bare = stated_classes(fields) == ["ViTModel"]
    counted_as = "ViTModel" if bare else "ViTForImageClassification"
    positions = trained[0] * trained[1] + 1
    return Architecture(
        name=fields.source,
        model_type="vit",
        kind="image",
        counted_as=counted_as,
        width=width,
        context_len=rows * columns + 1,
        embeddings=[
            Embedding(name="class_token", rows=1, width=width, lookup=False),
            Embedding(name="positions", rows=positions, width=width, lookup=False),
        ],
        convolutions=[_patch_embedding(fields, width, rows, columns)],
        blocks=[_block(fields, width)],
        final_norms=1,
        heads=_heads(fields, width, bare),
        weights_dtype=read_weights_dtype(fields),
        not_counted=notes(fields, counted_as),
    )


def _pair(fields: Fields, key: str, default: int) -> list[int]:
    """Height and width, which a config states as one number or as two."""
    if not isinstance(fields.raw.get(key), list):
        return [fields.integer(key, default)] * 2
    pair = fields.integers(key)
    if len(pair) != 2:
        raise fields.wrong(key, pair, "one number, or a height and a width")
    return pair


def _patch_size(fields: Fields) -> int:
    height, width = _pair(fields, "patch_size", 16)
    if height != width:
        raise UnsupportedError(
            f"{fields.source}: patches of {height}×{width} are not supported.",
            "Choose a model whose patches are square.",
        )
    return height


def _patches(fields: Fields, image_size: list[int]) -> tuple[int, int]:
    """Rows and columns of patches."""
    patch = _patch_size(fields)
    height, width = image_size
    if height < 1 or width < 1 or height % patch or width % patch:
        raise InputError(
            f"{fields.source}: an `image_size` of {height}×{width} is no multiple of the"
            f" `patch_size` {patch}.",
            "Give another size of the image, or correct config.json.",
        )
    return height // patch, width // patch


def _patch_embedding(fields: Fields, width: int, rows: int, columns: int) -> Convolution:
    patch = _patch_size(fields)
    return Convolution(
        name="patches",
        count=1,
        in_channels=fields.integer("num_channels", 3),
        out_channels=width,
        kernel=patch,
        stride=patch,
        out_height=rows,
        out_width=columns,
        bias=True,
        batch_norm=False,
    )


def _heads(fields: Fields, width: int, bare: bool) -> list[Head]:
    outputs = fields.integer("pooler_output_size", width) if bare else label_count(fields)
    classifier = Head(name="classifier", inputs=width, outputs=outputs, bias=True, per="sequence")
    if bare:
        return [msgspec.structs.replace(classifier, name="pooler")]
    return [classifier] if outputs else []


def _block(fields: Fields, width: int) -> Block:
    heads = fields.integer("num_attention_heads")
    check_heads(fields, width, heads)
    return Block(
        name="block",
        count=fields.integer("num_hidden_layers"),
        width=width,
        attention=Attention(
            heads=heads,
            kv_heads=heads,
            head_size=width // heads,
            qkv_bias=fields.flag("qkv_bias", True),
            out_bias=True,
            causal=False,
        ),
        mlp=Mlp(
            width=fields.integer("intermediate_size"),
            gated=False,
            bias=True,
            activation=read_activation(fields, "hidden_act", "gelu"),
        ),
        norm="layer_norm",
        norm_bias=True,
    )
