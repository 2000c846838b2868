"""What autograd keeps before the first block and after the last: embeddings, head and loss."""

from topout.cost.saved_tensors import (
    FP32_BYTES,
    INDEX_BYTES,
    SavedTensor,
    Stream,
    query_length,
    stream,
)
from topout.cost.training_step import TrainingStep
from topout.models.architecture import Architecture, Block, Head


def embedding_activations(architecture: Architecture, step: TrainingStep) -> list[SavedTensor]:
    """Indices, norm and dropout of the embeddings, and what encodes positions in all blocks.

    One set for each side of an encoder-decoder.
    """
    sides = [False, True] if architecture.kind == "encoder_decoder" else [False]
    tensors: list[SavedTensor] = []
    for decoder_side in sides if architecture.embeddings else []:
        length = query_length(architecture, step, decoder_side=decoder_side)
        tokens = stream(architecture, step, length)
        tensors += _looked_up(architecture, length, step.batch_size)
        if architecture.embedding_norm is not None:
            norm = architecture.embedding_norm
            tensors += tokens.norm("embedding.norm", norm, architecture.width)
        tensors += tokens.dropout_mask("embedding.dropout", architecture.width)
    return tensors + _rotations(architecture, step) + _distances(architecture, step)


def _looked_up(architecture: Architecture, length: int, batch: int) -> list[SavedTensor]:
    """The row numbers of each table; positions and types are the same in every sequence."""
    return [
        SavedTensor(
            name=f"embedding.{table.name}",
            elements=length * (batch if table.name == "tokens" else 1),
            element_bytes=INDEX_BYTES,
        )
        for table in architecture.embeddings
        if table.lookup
    ]


def _rotations(architecture: Architecture, step: TrainingStep) -> list[SavedTensor]:
    """Cosines and sines of each position, shared by the blocks."""
    sizes = {each.attention.head_size for each in architecture.blocks if each.attention.rotary}
    return [
        SavedTensor(
            name="embedding.rotation",
            elements=2 * step.sequence_len * size,
            element_bytes=step.element_bytes,
        )
        for size in sizes
    ]


def _distances(architecture: Architecture, step: TrainingStep) -> list[SavedTensor]:
    """Which learned bias belongs to each pair of positions, once for each stack."""
    lengths = [
        query_length(architecture, step, decoder_side=block.attention.causal)
        for block in architecture.blocks
        if block.attention.relative_buckets
    ]
    return [
        SavedTensor(name="embedding.distances", elements=length * length, element_bytes=INDEX_BYTES)
        for length in lengths
    ]


def final_activations(architecture: Architecture, step: TrainingStep) -> list[SavedTensor]:
    """Norms after the blocks, the inputs of the heads, and an encoder's output for a decoder."""
    tensors: list[SavedTensor] = []
    stacks = architecture.blocks[-1:]
    if architecture.kind == "encoder_decoder":
        stacks = [architecture.blocks[0], architecture.blocks[-1]]
    for block in stacks[: architecture.final_norms]:
        tokens = _stack_stream(architecture, step, block)
        tensors += tokens.norm("final_norm", block.norm, block.width)
        if architecture.kind == "encoder_decoder":
            tensors += tokens.dropout_mask("final_dropout", block.width)
    if architecture.kind == "encoder_decoder":
        encoder = _stack_stream(architecture, step, architecture.blocks[0])
        tensors.append(encoder.along_tokens("encoder_output", architecture.width))
    return tensors + _head_inputs(architecture, step)


def _stack_stream(architecture: Architecture, step: TrainingStep, block: Block) -> Stream:
    length = query_length(architecture, step, decoder_side=block.attention.causal)
    return stream(architecture, step, length)


def _head_inputs(architecture: Architecture, step: TrainingStep) -> list[SavedTensor]:
    """What the linear layers after the blocks read, and what the norm after one of them keeps."""
    length = query_length(architecture, step, decoder_side=True)
    tensors = []
    for index, head in enumerate(architecture.heads):
        # PyTorch keeps a slice's whole tensor: the last hidden states of all tokens.
        sliced = index == 0 and step.implementation == "eager" and bool(architecture.blocks)
        whole = head.per == "token" or sliced
        read = stream(architecture, step, length if whole else 1)
        tensors.append(read.along_tokens(f"{head.name}.input", head.inputs))
        if head.norm is not None:  # after an activation, whose input is kept too
            written = stream(architecture, step, length if head.per == "token" else 1)
            tensors.append(written.along_tokens(f"{head.name}.activation_input", head.outputs))
            tensors += written.norm(f"{head.name}.norm", head.norm, head.outputs)
    return tensors


def loss_activations(architecture: Architecture, step: TrainingStep) -> list[SavedTensor]:
    """Cross-entropy over the outputs of the last head: its logarithms and the targets.

    Decoders keep them in fp32 (arXiv 2205.05198: 4·s·b·V bytes); none for a model without a head.
    """
    head = loss_head(architecture)
    if head is None:
        return []
    tokens = _loss_stream(architecture, step, head)
    size = _loss_bytes(architecture, tokens)
    return [
        SavedTensor(
            name="loss.log_softmax", elements=tokens.tokens * head.outputs, element_bytes=size
        ),
        SavedTensor(name="loss.targets", elements=tokens.tokens, element_bytes=INDEX_BYTES),
        SavedTensor(name="loss.total_weight", elements=1, element_bytes=size),
    ]


def loss_working_bytes(architecture: Architecture, step: TrainingStep) -> int:
    """What comes and goes around the loss, at the start of the backward pass.

    Eager PyTorch holds two gradients as large as the logits' logarithms: that of the picked
    logarithms and that of the logits. A fused kernel writes its gradient in place.
    """
    head = loss_head(architecture)
    if head is None or step.implementation == "fused":
        return 0
    tokens = _loss_stream(architecture, step, head)
    return 2 * tokens.tokens * head.outputs * _loss_bytes(architecture, tokens)


def loss_head(architecture: Architecture) -> Head | None:
    """The head whose outputs are compared with targets; a pooler's are not."""
    scored = [head for head in architecture.heads if head.name != "pooler"]
    return scored[-1] if scored else None


def _loss_stream(architecture: Architecture, step: TrainingStep, head: Head) -> Stream:
    length = query_length(architecture, step, decoder_side=True)
    return stream(architecture, step, length if head.per == "token" else 1)


def _loss_bytes(architecture: Architecture, tokens: Stream) -> int:
    eager_narrow = tokens.eager and not tokens.traits.loss_in_fp32
    return tokens.element_bytes if eager_narrow else FP32_BYTES
