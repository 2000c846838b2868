"""Parameters of an architecture: exactly those of the class named in `counted_as`.

Tied weights count once. The running means and variances of batch norms are no parameters.
"""

import msgspec

from topout.models.architecture import (
    Architecture,
    Attention,
    Block,
    Convolution,
    Head,
    Mlp,
    NormKind,
)

PARTS = [
    "embedding",
    "positions",
    "attention",
    "cross_attention",
    "mlp",
    "router",
    "norms",
    "convolution",
    "head",
]


def parameters_by_part(architecture: Architecture) -> dict[str, int]:
    """Parameters by part, of PARTS those that the network has, in that order."""
    parts = dict.fromkeys(PARTS, 0)
    for table in architecture.embeddings:
        part = "positions" if table.name == "positions" else "embedding"
        parts[part] += table.rows * table.width
    for block in architecture.blocks:
        for part, parameters in block_parameters(block).items():
            parts[part] += block.count * parameters
        # Biases by distance lie in a stack's first block only.
        parts["positions"] += block.attention.relative_buckets * block.attention.heads
    for convolution in architecture.convolutions:
        parts["convolution"] += convolution.count * convolution_weights(convolution)
        parts["norms"] += convolution.count * 2 * convolution.out_channels * convolution.batch_norm
    for head in architecture.heads:
        parts["head"] += head_parameters(head)
        parts["norms"] += _norm(head.norm, head.outputs)
    parts["norms"] += _norm(architecture.embedding_norm, architecture.width)
    if architecture.final_norms:
        last = architecture.blocks[-1]
        final_norm = architecture.width * (1 + last.norm_bias)
        parts["norms"] += architecture.final_norms * final_norm
    return {part: parameters for part, parameters in parts.items() if parameters}


def total_parameters(architecture: Architecture) -> int:
    """All parameters together."""
    return sum(parameters_by_part(architecture).values())


def active_parameters(architecture: Architecture) -> int:
    """The parameters that a token passes through: of a mixture, the chosen experts alone."""
    blocks = [
        msgspec.structs.replace(
            block, mlp=msgspec.structs.replace(block.mlp, experts=block.mlp.experts_per_token)
        )
        for block in architecture.blocks
    ]
    idle = sum(
        whole.count * (block_parameters(whole)["mlp"] - block_parameters(active)["mlp"])
        for whole, active in zip(architecture.blocks, blocks, strict=True)
    )
    return total_parameters(architecture) - idle


def block_parameters(block: Block) -> dict[str, int]:
    """Parameters of one block by part, without biases by distance."""
    norms = block.norms * block.width * (1 + block.norm_bias)
    attentions = [block.attention] + ([block.cross_attention] if block.cross_attention else [])
    norms += sum(2 * attention.head_size for attention in attentions if attention.qk_norm)
    parts = {"attention": attention_parameters(block.attention, block.width)}
    if block.cross_attention:
        parts["cross_attention"] = attention_parameters(block.cross_attention, block.width)
    parts["mlp"] = _mlp(block.mlp, block.width)
    parts["router"] = _router(block.mlp, block.width)
    return parts | {"norms": norms}


def attention_parameters(attention: Attention, width: int) -> int:
    """Parameters of the four projections: queries, keys, values and output."""
    qkv_width = attention.query_width + 2 * attention.kv_width
    biases = qkv_width * attention.qkv_bias + width * attention.out_bias
    return width * qkv_width + attention.query_width * width + biases


def convolution_weights(convolution: Convolution) -> int:
    """Parameters of one run of a convolution, without its batch norm."""
    window = convolution.in_channels * convolution.kernel**2
    return convolution.out_channels * (window + convolution.bias)


def head_parameters(head: Head) -> int:
    """Parameters of a head, without its norm; a tied weight is the embedding's."""
    return head.outputs * (0 if head.tied else head.inputs) + head.outputs * head.bias


def _mlp(mlp: Mlp, width: int) -> int:
    """All experts, and the shared one."""
    projections = 3 if mlp.gated else 2
    hidden = 2 if mlp.gated else 1
    biases = (hidden * mlp.width + width) * mlp.bias
    one = projections * width * mlp.width + biases
    return max(mlp.experts, 1) * one + projections * width * mlp.shared_width


def _router(mlp: Mlp, width: int) -> int:
    """One output per expert, and one that weighs the shared expert."""
    return width * (mlp.experts + (mlp.shared_width > 0))


def _norm(kind: NormKind | None, width: int) -> int:
    return 0 if kind is None else width * (1 if kind == "rms_norm" else 2)
