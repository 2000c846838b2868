"""The plain encoder: BERT, RoBERTa and DistilBERT in one module tree; it defines correct output.

Its parts have the names of the decoder's. Unlike there each norm comes after its part.
`embed_texts` makes sentence embeddings: one vector for each text, near for texts that mean the
same.

Shapes: B batch, S tokens, C width, H heads, D head size, F MLP width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from topout.errors import InputError
from topout.models.decoder import activate
from topout.models.encoder_config import EncoderConfig
from topout.models.text import Tokenizer, pad_rows


class EncoderOutput(NamedTuple):
    """What an encoder makes of its tokens."""

    hidden: Tensor  # [B, S, C]
    pooled: Tensor | None  # [B, C], of the first token; None without a pooler


class Encoder(nn.Module):
    """Tokens in, a hidden state for each out, and one for the sequence where there is a pooler.

    `pooler`: whether to have one; by default as `config.pools`. In training mode dropout is
    applied where transformers applies it, at the rates of the config.
    """

    def __init__(self, config: EncoderConfig, *, pooler: bool | None = None) -> None:
        super().__init__()
        self.config = config
        width, positions = config.width, config.table_rows("positions")
        self.token_embedding = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_id)
        # The padding's row gets no gradient, where transformers gives it none.
        position_of_padding = config.pad_id if config.positions_follow_padding else None
        self.position_embedding = nn.Embedding(positions, width, padding_idx=position_of_padding)
        self.token_type_embedding: nn.Embedding | None = None
        if config.table_rows("token_types"):
            self.token_type_embedding = nn.Embedding(config.table_rows("token_types"), width)
        self.embedding_norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.blocks = nn.ModuleList(EncoderBlock(config) for _ in range(config.layers))
        has_pooler = config.pools if pooler is None else pooler
        self.pooler = nn.Linear(width, width) if has_pooler else None

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, token_types: Tensor | None = None
    ) -> EncoderOutput:
        """Hidden states [B, S, C], and [B, C] of the pooler.

        tokens [B, S] int64. mask [B, S], bool or numbers: what is not 0 is seen, by default all.
        token_types [B, S] int64, by default 0; for DistilBERT they have to be left out. Raises
        InputError when the tokens do not fit.
        """
        x = self._embed(tokens, token_types)
        seen = None if mask is None else mask.bool()[:, None, None, :]  # [B, 1, 1, S]
        for block in self.blocks:
            x = block(x, seen)
        pooled = None if self.pooler is None else torch.tanh(self.pooler(x[:, 0]))
        return EncoderOutput(x, pooled)

    def _embed(self, tokens: Tensor, token_types: Tensor | None) -> Tensor:
        """The normalized sum of the embeddings [B, S, C]."""
        length = tokens.shape[1]
        if length > self.config.context_len:
            raise InputError(
                f"{length} tokens do not fit into the {self.config.context_len} positions of "
                f"{self.config.name}.",
                "Cut the text, or ask for a shorter length.",
            )
        x = self.token_embedding(tokens) + self.position_embedding(self._positions(tokens))
        if self.token_type_embedding is not None:
            types = tokens.new_zeros((1, 1)) if token_types is None else token_types
            x = x + self.token_type_embedding(types)
        elif token_types is not None:
            raise InputError(
                f"{self.config.name} has no token types.", "Leave the token types out."
            )
        normal = self.embedding_norm(x)
        return F.dropout(normal, self.config.dropout.embedding, self.training)

    def _positions(self, tokens: Tensor) -> Tensor:
        """Rows of the position table: [S], or [B, S] where they depend on what is padding."""
        pad_id = self.config.pad_id
        if not self.config.positions_follow_padding or pad_id is None:
            return torch.arange(tokens.shape[1], device=tokens.device)
        # By the tokens and not by the mask, as transformers does.
        is_text = (tokens != pad_id).long()
        return is_text.cumsum(1) * is_text + pad_id


class EncoderBlock(nn.Module):
    """Attention, then MLP, each added to its input and the sum normalized."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.attention = EncoderAttention(config)
        self.attention_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp = EncoderMlp(config)
        self.mlp_norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """x [B, S, C], seen [B, 1, 1, S] bool → [B, S, C]."""
        attended = F.dropout(self.attention(x, seen), self.dropout.attention_output, self.training)
        x = self.attention_norm(x + attended)
        out: Tensor = self.mlp_norm(
            x + F.dropout(self.mlp(x), self.dropout.mlp_output, self.training)
        )
        return out


class EncoderAttention(nn.Module):
    """Attention of all tokens to all; `qkv` gives all queries, then all keys, then all values."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.heads, self.head_size = config.heads, config.head_size
        self.dropout = config.dropout.attention
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.output = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """x [B, S, C], seen [B, 1, 1, S] bool → [B, S, C]."""
        B, S, _ = x.shape
        qkv = self.qkv(x).view(B, S, 3, self.heads, self.head_size)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # [B, H, S, D] each
        rate = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=rate)
        projected: Tensor = self.output(out.transpose(1, 2).reshape(B, S, -1))
        return projected


class EncoderMlp(nn.Module):
    """Up, activation, down."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.activation = config.activation
        self.up = nn.Linear(config.width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, S, C] → [B, S, C]."""
        out: Tensor = self.down(activate(self.up(x), self.activation))
        return out


def mean_pool(hidden: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean [B, C] of the hidden states [B, S, C] where `mask` [B, S] is not 0.

    A row without a token gives zeros. Source: arXiv 1908.10084, section 3.
    """
    if mask is None:
        return hidden.mean(1)
    weights = mask.bool().to(hidden.dtype)[:, :, None]  # [B, S, 1]
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def embed_texts(
    encoder: Encoder,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    max_len: int | None = None,
    batch_size: int = 32,
) -> Tensor:
    """Vectors [len(texts), C] of length 1, so that their products are cosines.

    Texts are cut to `max_len` tokens, by default the context length. Runs in the mode that the
    encoder is in, without gradients. Raises InputError when a text has no tokens.
    """
    room = encoder.config.context_len if max_len is None else max_len
    rows = [tokenizer.encode_sequence(text, room) for text in texts]
    device = encoder.token_embedding.weight.device
    pad_id = encoder.config.pad_id or 0
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            tokens, mask = pad_rows(rows[start : start + batch_size], pad_id)
            tokens, mask = tokens.to(device), mask.to(device)
            output = encoder(tokens, mask)
            vectors.append(F.normalize(mean_pool(output.hidden, mask).float(), dim=-1))
    return torch.cat(vectors) if vectors else torch.empty(0, encoder.config.width, device=device)
