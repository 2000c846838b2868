"""`Architecture`: the shape of any network that topout counts, as stacks of equal blocks.

Torch-free: read from a `config.json` alone. What runs here is `ModelConfig`'s business; what is
counted is this. Parameters are exactly those of the Hugging Face class named in `counted_as`: tied
weights count once, and the running means and variances of batch norms are no parameters.
"""

from typing import Literal

import msgspec

from topout.models.stored_weights import StoredWeights

Kind = Literal["decoder", "encoder", "encoder_decoder", "image", "module"]
WITHOUT_TOKENS = ("image", "module")  # kinds whose samples are no sequences of tokens
NormKind = Literal["layer_norm", "rms_norm", "batch_norm"]

PARTS = [
    "embedding",
    "positions",
    "attention",
    "cross_attention",
    "scan",
    "mlp",
    "router",
    "norms",
    "convolution",
    "head",
    "vision",
    "other",
]


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """Attention of one block. `cross`: keys and values come from the encoder's output."""

    heads: int
    kv_heads: int
    head_size: int
    qkv_bias: bool
    out_bias: bool
    causal: bool
    cross: bool = False
    window: int | None = None  # a token sees itself and the window - 1 before it
    qk_norm: bool = False  # RMS norm of each query and key head
    rotary: bool = False
    projected_distances: bool = False  # Transformer-XL: each distance is projected for each head
    relative_buckets: int = 0  # T5: learned biases by distance, in the stack's first block only

    @property
    def query_width(self) -> int:
        """Outputs of the query projection."""
        return self.heads * self.head_size

    @property
    def kv_width(self) -> int:
        """Outputs of the key projection, and of the value projection."""
        return self.kv_heads * self.head_size


class Mlp(msgspec.Struct, frozen=True, kw_only=True):
    """The feed-forward part; with `experts`, a mixture of so many of them behind a router."""

    width: int  # of one expert
    gated: bool
    bias: bool
    activation: str  # "gelu", "gelu_tanh", "relu", "silu"
    experts: int = 0  # 0: dense
    experts_per_token: int = 0
    shared_width: int = 0  # one more expert, always run, behind a gate of one output per token


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A stack of `count` equal blocks."""

    name: str  # "block"; "encoder" and "decoder" where there are both
    count: int
    width: int
    attention: Attention
    cross_attention: Attention | None = None
    mlp: Mlp
    norm: NormKind
    norm_bias: bool
    norms: int = 2  # per block


class Convolution(msgspec.Struct, frozen=True, kw_only=True):
    """A 2-D convolution, run `count` times; heights and widths are those of its output."""

    name: str
    count: int
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    out_height: int
    out_width: int
    bias: bool
    batch_norm: bool


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """A table of which each token reads one row; `lookup` is False for tokens that are added."""

    name: str  # "tokens", "positions", "token_types", "class_token"
    rows: int
    width: int
    lookup: bool = True


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """A linear layer after the blocks."""

    name: str  # "head", "pooler", "classifier"
    inputs: int
    outputs: int
    bias: bool
    tied: bool = False  # its weight is the token embedding's
    per: Literal["token", "sequence"]  # a classifier looks at one position of a sequence
    norm: NormKind | None = None  # of its outputs


class KeptTensor(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers that a model keeps of each sequence between two tokens, of tensors that grow alike.

    `per_token` of each token that it sees, `window` of them at most; `constant` whatever the
    context: states of scans and convolutions, keys of a source. `own_bytes` is the size of a
    number that is not of the cache's type: states in fp32.
    """

    per_token: float = 0.0
    constant: float = 0.0
    window: int | None = None
    own_bytes: int | None = None
    of_source: bool = False  # its tokens are those of the encoder

    def numbers(self, tokens: int) -> float:
        """Of one sequence that has so many tokens."""
        kept = tokens if self.window is None else min(tokens, self.window)
        return self.constant + self.per_token * kept


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted of a network's module, for one that no formulas describe."""

    parameters_by_part: dict[str, int]
    idle_parameters: int  # of experts that a token does not choose
    layers: int  # of an encoder and its decoder both
    encoder_layers: int | None = None  # of these, where there are both
    heads: int | None
    kv_heads: int | None
    experts: tuple[int, int] | None = None  # of a layer, and those that a token goes to
    kept: list[KeptTensor] = []
    working_per_token: float = 0.0  # numbers of one token in a forward pass at its fullest


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of a network; parts that it does not have are empty.

    Of one whose module was counted, because no formulas describe it, there are no blocks.
    """

    name: str
    model_type: str  # of Hugging Face
    kind: Kind
    counted_as: str  # "GPT2LMHeadModel": the transformers class whose parameters these are
    width: int
    vocab_size: int | None = None
    context_len: int | None = None  # tokens at most; image models: tokens of one image
    embeddings: list[Embedding] = []
    embedding_norm: NormKind | None = None
    convolutions: list[Convolution] = []
    blocks: list[Block] = []
    final_norms: int = 0  # after the blocks, `width` wide, of the blocks' kind
    heads: list[Head] = []
    published_dtype: str | None = None  # "fp32", "bf16", "fp16"; None: stated nowhere
    stored_weights: StoredWeights | None = None  # how the checkpoint is quantized
    not_counted: list[str] = []  # what this description leaves out, in words
    counted: Counted | None = None
    samples: int | None = None  # that its inputs hold, where these were given


def language_head(width: int, vocab_size: int, tied: bool) -> Head:
    """The layer that turns a decoder's output into logits."""
    return Head(name="head", inputs=width, outputs=vocab_size, bias=False, tied=tied, per="token")


def stack_layers(
    layers: list[Block], slides: list[bool] | None = None, window: int | None = None
) -> list[Block]:
    """Equal layers as one stack each, in the order of first appearance.

    Where `slides` is true the layer sees `window` tokens only; without a window all see all.
    Models whose layers alternate in kind become one stack per kind.
    """
    if slides is not None and window is not None and any(slides):
        layers = [
            _sliding(layer, window) if slide else _named(layer, "full")
            for layer, slide in zip(layers, slides, strict=True)
        ]
    stacks: list[Block] = []
    for layer in layers:
        for index, stack in enumerate(stacks):
            if msgspec.structs.replace(stack, count=layer.count) == layer:
                stacks[index] = msgspec.structs.replace(stack, count=stack.count + layer.count)
                break
        else:
            stacks.append(layer)
    return stacks


def _sliding(layer: Block, window: int) -> Block:
    attention = msgspec.structs.replace(layer.attention, window=window)
    return msgspec.structs.replace(_named(layer, "sliding"), attention=attention)


def _named(layer: Block, kind: str) -> Block:
    return msgspec.structs.replace(layer, name=f"{kind}_{layer.name}")


def parameters_by_part(architecture: Architecture) -> dict[str, int]:
    """Parameters by part, of PARTS those that the network has, in that order."""
    if architecture.counted is not None:
        return architecture.counted.parameters_by_part
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
        parts["norms"] += _norm_parameters(head.norm, head.outputs)
    parts["norms"] += _norm_parameters(architecture.embedding_norm, architecture.width)
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
    if architecture.counted is not None:
        return total_parameters(architecture) - architecture.counted.idle_parameters
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


def experts_of(architecture: Architecture) -> tuple[int, int] | None:
    """Experts of a layer and those that a token goes to, where most there are; None without."""
    if architecture.counted is not None:
        return architecture.counted.experts
    mixed = [(b.mlp.experts, b.mlp.experts_per_token) for b in architecture.blocks if b.mlp.experts]
    return max(mixed, default=None)


def block_parameters(block: Block) -> dict[str, int]:
    """Parameters of one block by part, without biases by distance."""
    norms = block.norms * block.width * (1 + block.norm_bias)
    attentions = [block.attention] + ([block.cross_attention] if block.cross_attention else [])
    norms += sum(2 * attention.head_size for attention in attentions if attention.qk_norm)
    parts = {"attention": attention_parameters(block.attention, block.width)}
    if block.cross_attention:
        parts["cross_attention"] = attention_parameters(block.cross_attention, block.width)
    parts["mlp"] = _mlp_parameters(block.mlp, block.width)
    parts["router"] = _router_parameters(block.mlp, block.width)
    return parts | {"norms": norms}


def attention_parameters(attention: Attention, width: int) -> int:
    """Parameters of the four projections: queries, keys, values and output."""
    qkv_width = attention.query_width + 2 * attention.kv_width
    biases = qkv_width * attention.qkv_bias + width * attention.out_bias
    distances = attention.projected_distances * attention.query_width * width
    return width * qkv_width + attention.query_width * width + distances + biases


def convolution_weights(convolution: Convolution) -> int:
    """Parameters of one run of a convolution, without its batch norm."""
    window = convolution.in_channels * convolution.kernel**2
    return convolution.out_channels * (window + convolution.bias)


def head_parameters(head: Head) -> int:
    """Parameters of a head, without its norm; a tied weight is the embedding's."""
    return head.outputs * (0 if head.tied else head.inputs) + head.outputs * head.bias


def _mlp_parameters(mlp: Mlp, width: int) -> int:
    """All experts, and the shared one."""
    projections = 3 if mlp.gated else 2
    hidden = 2 if mlp.gated else 1
    biases = (hidden * mlp.width + width) * mlp.bias
    one = projections * width * mlp.width + biases
    return max(mlp.experts, 1) * one + projections * width * mlp.shared_width


def _router_parameters(mlp: Mlp, width: int) -> int:
    """One output per expert, and one that weighs the shared expert."""
    return width * (mlp.experts + (mlp.shared_width > 0))


def _norm_parameters(kind: NormKind | None, width: int) -> int:
    return 0 if kind is None else width * (1 if kind == "rms_norm" else 2)
