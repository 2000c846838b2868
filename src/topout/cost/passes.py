"""The ops of a pass through a whole model: embedding, blocks, heads, and convolutions.

An embedding is a row that is read, not a product. A full pass, in which all positions get logits,
is that of training and of a second count.
"""

from collections.abc import Sequence

import msgspec

from topout.cost.ops import Op
from topout.cost.transformer import ExtraTraffic, Pass, block_ops, elementwise_op, linear_op
from topout.models.architecture import WITHOUT_TOKENS, Architecture, Block, Convolution


def pass_ops(
    architecture: Architecture,
    *,
    batch_size: int,
    new_tokens: int,
    context_len: int,
    logits_rows: int,
    source_len: int = 0,
    extra_traffic: ExtraTraffic = ExtraTraffic(),  # noqa: B008 - frozen
) -> list[Op]:
    """The ops of one pass through a decoder; `logits_rows` positions per row get logits.

    Of an encoder and decoder it is the decoder's pass, the encoder's keys and values being cached.
    """
    step = Pass(
        batch_size=batch_size,
        new_tokens=new_tokens,
        context_len=context_len,
        source_len=source_len,
    )
    blocks = generating_blocks(architecture)
    ops = [_embedding(architecture, step.tokens)]
    ops += stacks_ops(architecture, blocks, step, extra_traffic)
    if extra_traffic.kv_copies:
        cached = extra_traffic.kv_copies * kv_elements(architecture, batch_size, context_len)
        ops.append(
            Op(
                name="kv_copy",
                part="attention",
                kind="copy",
                count=2 * sum(block.count for block in blocks),
                shape="the whole cache",
                flops=0.0,
                kv_elements=2 * cached,  # read and written
            )
        )
    return ops + head_ops(architecture, batch_size, logits_rows)


def encoder_ops(
    architecture: Architecture,
    batch_size: int,
    length: int,
    extra_traffic: ExtraTraffic = ExtraTraffic(),  # noqa: B008 - frozen
) -> list[Op]:
    """One pass of all tokens of an encoder, or of an image's: B sequences of `length`."""
    step = Pass(batch_size=batch_size, new_tokens=length, context_len=length)
    blocks = [block for block in architecture.blocks if not block.attention.causal]
    ops = convolution_ops(architecture.convolutions, batch_size)
    if architecture.embeddings:
        ops.append(_embedding(architecture, step.tokens))
    return ops + stacks_ops(architecture, blocks, step, extra_traffic)


def full_pass_ops(
    architecture: Architecture,
    batch_size: int,
    length: int,
    extra_traffic: ExtraTraffic = ExtraTraffic(),  # noqa: B008 - frozen
) -> list[Op]:
    """The ops of a pass in which all positions get logits, as in training.

    `length` tokens in each row, on both sides of an encoder-decoder.
    """
    ops: list[Op] = []
    if architecture.kind != "decoder":
        ops += encoder_ops(architecture, batch_size, length, extra_traffic)
    if architecture.kind == "encoder_decoder":
        ops += source_projection_ops(architecture, batch_size, length)
    if architecture.kind not in ("decoder", "encoder_decoder"):
        return ops + head_ops(architecture, batch_size, length)
    return ops + pass_ops(
        architecture,
        batch_size=batch_size,
        new_tokens=length,
        context_len=length,
        logits_rows=length,
        source_len=length if architecture.kind == "encoder_decoder" else 0,
        extra_traffic=extra_traffic,
    )


def full_pass_flops(architecture: Architecture, batch_size: int, length: int) -> dict[str, int]:
    """FLOPs of such a pass by kind ("product", "convolution") where no mask saves work.

    Image models have a length of their own.
    """
    if architecture.kind in WITHOUT_TOKENS:
        length = architecture.context_len or 1
    ops = full_pass_ops(architecture, batch_size, length)
    linear = sum(op.flops for op in ops if op.kind == "linear")
    return {
        "product": round(linear) + _full_attention(architecture, batch_size, length),
        "convolution": round(sum(op.flops for op in ops if op.kind == "convolution")),
    }


def source_projection_ops(architecture: Architecture, batch_size: int, source_len: int) -> list[Op]:
    """Keys and values of the encoder's output, once per sequence, for each block that reads it."""
    rows = batch_size * source_len
    return [
        linear_op("cross_kv", "cross_attention", block.count, rows, 2 * cross.kv_width, block.width)
        for block in generating_blocks(architecture)
        if (cross := block.cross_attention) is not None
    ]


def generating_blocks(architecture: Architecture) -> list[Block]:
    """The stacks that a decoded token goes through."""
    return [block for block in architecture.blocks if block.attention.causal]


def stacks_ops(
    architecture: Architecture, blocks: list[Block], step: Pass, extra_traffic: ExtraTraffic
) -> list[Op]:
    """The ops of some stacks of blocks, and the norms around them; named apart if they differ."""
    ops: list[Op] = []
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        extra = (architecture.final_norms if last else 0) + (
            1 if number == 0 and architecture.embedding_norm else 0
        )
        found = block_ops(block, step, extra_traffic, extra)
        prefix = f"{block.name}." if len(blocks) > 1 else ""
        ops += [msgspec.structs.replace(op, name=prefix + op.name) for op in found]
    return ops


def kv_elements(architecture: Architecture, batch_size: int, context_len: int) -> int:
    """Elements of the KV cache: 2 (K and V) · kv_heads · head_size per token and block.

    A block with a window keeps as many tokens as the window has.
    """
    if architecture.counted is not None:
        kept = sum(each.numbers(context_len) for each in architecture.counted.kept)
        return round(batch_size * kept)
    return sum(
        2 * block.count * block.attention.kv_width * batch_size * _kept(block, context_len)
        for block in generating_blocks(architecture)
    )


def _kept(block: Block, context_len: int) -> int:
    window = block.attention.window
    return context_len if window is None else min(context_len, window)


def head_ops(architecture: Architecture, batch_size: int, rows_per_sequence: int) -> list[Op]:
    """The linear layers after the blocks; a classifier looks at one position of a sequence."""
    ops: list[Op] = []
    for head in architecture.heads:
        rows = batch_size * (rows_per_sequence if head.per == "token" else 1)
        ops.append(linear_op(head.name, "head", 1, rows, head.outputs, head.inputs))
        if head.norm is not None:
            walked = rows * head.outputs
            ops.append(elementwise_op(f"{head.name}.norm", "norms", 1, walked, walked, rows))
    return ops


def convolution_ops(convolutions: Sequence[Convolution], batch_size: int) -> list[Op]:
    """The convolutions of a network, each followed by its batch norm where it has one.

    2 FLOPs per output element, input channel and kernel element; the input is as large as the
    output times the stride.
    """
    ops: list[Op] = []
    for each in convolutions:
        positions = batch_size * each.out_height * each.out_width * each.count
        kernel = each.in_channels * each.kernel * each.kernel
        inputs = positions * each.stride * each.stride * each.in_channels
        outputs = positions * each.out_channels
        ops.append(
            Op(
                name=each.name,
                part="convolution",
                kind="convolution",
                count=each.count,
                shape=(
                    f"{each.in_channels}→{each.out_channels}, {each.kernel}×{each.kernel}"
                    f"/{each.stride}, {each.out_height}×{each.out_width}"
                ),
                rows=positions // each.count,
                matrix_elements=kernel * each.out_channels,
                flops=2.0 * outputs * kernel,
                weight_elements=float(each.count * kernel * each.out_channels),
                activation_elements=float(inputs + outputs),
            )
        )
        if each.batch_norm:
            ops.append(
                Op(
                    name=f"{each.name}.norm",
                    part="norms",
                    kind="elementwise",
                    count=each.count,
                    shape=f"{each.out_channels}×{each.out_height}×{each.out_width}",
                    flops=float(outputs),
                    activation_elements=2.0 * outputs,
                )
            )
    return ops


def _embedding(architecture: Architecture, tokens: int) -> Op:
    """Rows of the tables that each token looks up, read, summed and written once."""
    tables = [each for each in architecture.embeddings if each.lookup]
    read = tokens * sum(each.width for each in tables)
    return Op(
        name="embedding",
        part="embedding",
        kind="embedding",
        count=1,
        shape=f"{tokens} rows of {architecture.width}",
        rows=tokens,
        flops=float(tokens * architecture.width * max(0, len(tables) - 1)),
        activation_elements=float(read + tokens * architecture.width),
    )


def _full_attention(architecture: Architecture, batch_size: int, length: int) -> int:
    """4 FLOPs per pair of query and key and element of a head, of every attention."""
    widths = sum(
        block.count
        * (
            block.attention.query_width
            + (block.cross_attention.query_width if block.cross_attention else 0)
        )
        for block in architecture.blocks
    )
    return 4 * batch_size * length * length * widths
