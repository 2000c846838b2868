"""`Architecture`: the shape of any network that topout counts, as stacks of equal blocks.

Torch-free: read from a `config.json` alone. What runs here is `ModelConfig`'s business; what is
counted is this. Parameters are exact, those of the Hugging Face class named in `counted_as`.
"""

from typing import Literal

import msgspec

Kind = Literal["decoder", "encoder", "encoder_decoder", "image"]
NormKind = Literal["layer_norm", "rms_norm", "batch_norm"]


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


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of a network; parts that it does not have are empty."""

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
    weights_dtype: str | None = None  # "fp32", "bf16", "fp16" as config.json states it
    not_counted: list[str] = []  # what this description leaves out, in words
