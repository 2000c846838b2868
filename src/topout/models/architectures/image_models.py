"""Classifiers of images: the Vision Transformer, and ResNet."""

from dataclasses import dataclass

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
from topout.models.fields import (
    Fields,
    check_heads,
    label_count,
    notes,
    read_activation,
    stated_classes,
)

_IMAGE_SIZE = 224  # that the published models are trained at; a config states none
_REDUCTION = 4  # a bottleneck's middle is so much narrower than its ends


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
        blocks=[_vit_block(fields, width)],
        final_norms=1,
        heads=_vit_heads(fields, width, bare),
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
            f"{fields.source}: an `image_size` of {height}×{width} is not a multiple of the"
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


def _vit_heads(fields: Fields, width: int, bare: bool) -> list[Head]:
    outputs = fields.integer("pooler_output_size", width) if bare else label_count(fields)
    classifier = Head(name="classifier", inputs=width, outputs=outputs, bias=True, per="sequence")
    if bare:
        return [msgspec.structs.replace(classifier, name="pooler")]
    return [classifier] if outputs else []


def _vit_block(fields: Fields, width: int) -> Block:
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


@dataclass(frozen=True)
class _Stage:
    """Some layers of one width, of which the first may halve the image."""

    number: int
    layers: int
    in_channels: int
    out_channels: int
    stride: int
    in_size: int  # height and width, in pixels
    bottleneck: bool
    stride_first: bool  # a bottleneck halves the image in its first convolution, not its second


def read_resnet(fields: Fields, image_size: int | None = None) -> Architecture:
    """A classifier of square images, or the bare model where `architectures` says so."""
    size = _IMAGE_SIZE if image_size is None else image_size
    if size < 1:
        raise InputError(f"the image size {size} is not positive.", "Give a size in pixels.")
    bare = stated_classes(fields) == ["ResNetModel"]
    counted_as = "ResNetModel" if bare else "ResNetForImageClassification"
    width = _stage_widths(fields)[-1]
    labels = 0 if bare else label_count(fields)
    classifier = Head(name="classifier", inputs=width, outputs=labels, bias=True, per="sequence")
    return Architecture(
        name=fields.source,
        model_type="resnet",
        kind="image",
        counted_as=counted_as,
        width=width,
        convolutions=_convolutions(fields, size),
        heads=[classifier] if labels else [],
        not_counted=[
            "The pooling after the first convolution and before the classifier.",
            *notes(fields, counted_as),
        ],
    )


def _convolutions(fields: Fields, image_size: int) -> list[Convolution]:
    channels = fields.integer("embedding_size", 64)
    stem = _convolution("stem", fields.integer("num_channels", 3), channels, 7, 2, image_size)
    size = _out_size(stem.out_height, 3, 2)  # the pooling halves the image once more
    convolutions = [stem]
    for stage in _stages(fields, channels, size):
        convolutions += _stage_convolutions(stage)
    return convolutions


def _stages(fields: Fields, channels: int, size: int) -> list[_Stage]:
    widths = _stage_widths(fields)
    depths = fields.integers("depths", [3, 4, 6, 3])
    if len(widths) != len(depths):
        raise InputError(
            f"{fields.source}: {len(widths)} `hidden_sizes`, and {len(depths)} `depths`.",
            "Correct one of them in config.json.",
        )
    kind = fields.text("layer_type", "bottleneck")
    if kind not in ("basic", "bottleneck"):
        raise fields.wrong("layer_type", kind, "'basic' or 'bottleneck'")
    if kind == "bottleneck" and any(width % _REDUCTION for width in widths):
        raise fields.wrong("hidden_sizes", widths, f"multiples of {_REDUCTION} in bottlenecks")
    stages = []
    for number, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        halves = number > 1 or fields.flag("downsample_in_first_stage", False)
        stage = _Stage(
            number=number,
            layers=depth,
            in_channels=channels,
            out_channels=width,
            stride=2 if halves else 1,
            in_size=size,
            bottleneck=kind == "bottleneck",
            stride_first=fields.flag("downsample_in_bottleneck", False),
        )
        stages.append(stage)
        channels, size = width, _out_size(size, 1, stage.stride)
    return stages


def _stage_widths(fields: Fields) -> list[int]:
    widths = fields.integers("hidden_sizes", [256, 512, 1024, 2048])
    if not widths:
        raise fields.wrong("hidden_sizes", widths, "a list of at least one width")
    return widths


def _stage_convolutions(stage: _Stage) -> list[Convolution]:
    """The first layer with its shortcut, then those of the further layers, which are equal."""
    name, size, out = f"stage{stage.number}", stage.in_size, stage.out_channels
    out_size = _out_size(size, 1, stage.stride)
    first = []
    if stage.in_channels != out or stage.stride != 1:
        first = [_convolution(f"{name}_shortcut", stage.in_channels, out, 1, stage.stride, size)]
    first += _layer(stage, f"{name}_first", stage.in_channels, stage.stride, size)
    if stage.layers == 1:
        return first
    return first + _layer(stage, f"{name}_rest", out, 1, out_size, count=stage.layers - 1)


def _layer(
    stage: _Stage, name: str, channels: int, stride: int, size: int, count: int = 1
) -> list[Convolution]:
    """One residual layer on a `size`×`size` image, `count` times."""
    out = stage.out_channels
    halved = _out_size(size, 1, stride)
    if not stage.bottleneck:
        return [
            _convolution(f"{name}_3x3_in", channels, out, 3, stride, size, count),
            _convolution(f"{name}_3x3_out", out, out, 3, 1, halved, count),
        ]
    narrow = out // _REDUCTION
    strides, middle = ((stride, 1), halved) if stage.stride_first else ((1, stride), size)
    return [
        _convolution(f"{name}_1x1_in", channels, narrow, 1, strides[0], size, count),
        _convolution(f"{name}_3x3", narrow, narrow, 3, strides[1], middle, count),
        _convolution(f"{name}_1x1_out", narrow, out, 1, 1, halved, count),
    ]


def _convolution(
    name: str,
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int,
    in_size: int,
    count: int = 1,
) -> Convolution:
    size = _out_size(in_size, kernel, stride)
    return Convolution(
        name=name,
        count=count,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel=kernel,
        stride=stride,
        out_height=size,
        out_width=size,
        bias=False,
        batch_norm=True,
    )


def _out_size(size: int, kernel: int, stride: int) -> int:
    """Outputs along one side, with kernel // 2 pixels of padding at both ends."""
    return (size + 2 * (kernel // 2) - kernel) // stride + 1
