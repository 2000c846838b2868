"""Models as they are trained: the decoder with dropout, heads of tasks, and their losses.

`Decoder` without a cache is the same function; here stands what only training needs, so that
inference pays nothing for it. Shapes: B batch, S tokens, C width, V vocabulary, N labels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from topout.errors import InputError
from topout.models.config import ModelConfig
from topout.models.decoder import Attention, Block, Decoder, Span, StaticCache, activate
from topout.models.decoder_dropout import DecoderDropout
from topout.models.encoder import Encoder, EncoderOutput
from topout.models.encoder_config import EncoderConfig

IGNORED = -100  # as in transformers


def token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy in fp32 of logits [B, S, V] at labels [B, S], those IGNORED left out.

    It is no number where all are.
    """
    flat = logits.float().flatten(0, 1)
    return F.cross_entropy(flat, labels.flatten(), ignore_index=IGNORED)


class TrainableDecoder(Decoder):
    """A decoder whose `hidden` is differentiable and drops out in training mode.

    Its modules have the names of `Decoder`'s. With `has_head` False there is no language head,
    and a tied embedding is an embedding alone.
    """

    def __init__(
        self, config: ModelConfig, dropout: DecoderDropout, *, has_head: bool = True
    ) -> None:
        super().__init__(config)
        self.dropout = dropout
        for layer in range(config.layers):
            self.blocks[layer] = TrainableBlock(config, layer, dropout)
        if not has_head:
            del self.head

    def hidden(self, tokens: Tensor) -> Tensor:
        """tokens [B, S] int64 → normalized hidden states [B, S, C].

        Each token sees those before it. Raises InputError when the tokens do not fit.
        """
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        span = self._span(positions, None, None)
        x = self.token_embedding(tokens)
        if self.position_embedding is not None:
            x = x + self.position_embedding(positions)
        x = F.dropout(x, self.dropout.embedding, self.training)
        rotation = None if self.rotary is None else self.rotary(positions, x.dtype)
        for block in self.blocks:
            x = block(x, positions, rotation, span, None)
        normal: Tensor = self.norm(x)
        return normal


class TrainableBlock(Block):
    """A block that drops elements of what attention and MLP add."""

    def __init__(self, config: ModelConfig, layer: int, dropout: DecoderDropout) -> None:
        super().__init__(config, layer)
        self.attention = TrainableAttention(config, layer, dropout.attention)
        self.dropout = dropout.residual

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        rotation: tuple[Tensor, Tensor] | None,
        span: Span,
        cache: StaticCache | None,
    ) -> Tensor:
        """x [B, S, C] → [B, S, C]."""
        attended = self.attention(self.attention_norm(x), positions, rotation, span, cache)
        x = x + F.dropout(attended, self.dropout, self.training)
        return x + F.dropout(self.mlp(self.mlp_norm(x)), self.dropout, self.training)


class TrainableAttention(Attention):
    """Attention that drops weights of its softmax."""

    def __init__(self, config: ModelConfig, layer: int, dropout: float) -> None:
        super().__init__(config, layer)
        self.dropout = dropout

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, span: Span) -> Tensor:
        if not (self.training and self.dropout):
            return super()._attend(q, k, v, span)
        groups = self.heads // self.kv_heads
        # Without a mask a row of one token sees itself. The mask's rows repeat for each group.
        mask = None if span.mask is None else span.mask[: q.shape[2]]
        return F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            dropout_p=self.dropout,
            is_causal=span.is_causal,
            scale=self.scale,
            enable_gqa=groups > 1,
        )


class CausalLanguageModel(nn.Module):
    """A decoder that learns to guess each row's next token."""

    def __init__(self, config: ModelConfig, dropout: DecoderDropout) -> None:
        super().__init__()
        self.config = config
        self.new_parts: list[str] = []  # those whose weights are of no checkpoint
        self.backbone = TrainableDecoder(config, dropout)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, labels: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor]:
        """Mean loss (None without labels), logits [B, S, V].

        tokens [B, S] int64, mask [B, S] as of `check_padded_right`. labels [B, S] int64: the
        tokens themselves, -100 at those not to be learned; padding never is, nor is the first
        token of a row. The loss of position s is that of label s + 1. It is no number where
        nothing is to be learned.
        """
        check_padded_right(mask)
        logits: Tensor = self.backbone.head(self.backbone.hidden(tokens))
        if labels is None:
            return None, logits
        if mask is not None:
            labels = labels.masked_fill(~mask.bool(), IGNORED)
        return token_loss(logits[:, :-1], labels[:, 1:]), logits


def check_padded_right(mask: Tensor | None) -> None:
    """Raise InputError unless the rows of `mask` [B, S] are tokens (not 0), then padding (0).

    A decoder's token then sees no padding, so that its attention needs no mask. Looked at on the
    CPU alone, since a GPU would have to be waited for.
    """
    if mask is None or mask.device.type != "cpu":
        return
    seen = mask.bool()
    if not bool(seen[:, 0].all()) or bool((seen[:, 1:] & ~seen[:, :-1]).any()):
        raise InputError(
            "a row of the mask has padding before a token, or no token.",
            "Pad the rows of a decoder on the right.",
        )


class SequenceClassifier(nn.Module):
    """A backbone, and a head on one hidden state of each row, as transformers puts it there.

    Of an encoder it is the first token's: BERT's after its pooler, RoBERTa's and DistilBERT's
    after a layer of the head's own. Of a decoder it is the last token's. Raises InputError for
    less than two labels.
    """

    def __init__(self, backbone: Encoder | TrainableDecoder, labels: int) -> None:
        super().__init__()
        if labels < 2:
            raise InputError(f"{labels} labels are too few.", "Give at least 2.")
        self.config: EncoderConfig | ModelConfig = backbone.config
        self.labels = labels
        self.new_parts: list[str] = []  # those whose weights are of no checkpoint
        self.backbone = backbone
        self.classifier: EncoderClassifier | DecoderClassifier = (
            EncoderClassifier(backbone.config, labels)
            if isinstance(backbone, Encoder)
            else DecoderClassifier(backbone.config, labels)
        )

    def forward(
        self,
        tokens: Tensor,
        mask: Tensor | None = None,
        labels: Tensor | None = None,
        token_types: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor]:
        """Mean loss (None without labels), logits [B, N].

        tokens [B, S] int64; mask [B, S]: 0 at padding, by default there is none; labels [B] int64,
        from 0 to N - 1; token_types [B, S] int64, of BERT and RoBERTa alone. Rows of a decoder are
        padded on the right. Raises InputError when the tokens do not fit.
        """
        logits: Tensor = self.classifier(self._summary(tokens, mask, token_types))
        if labels is None:
            return None, logits
        return F.cross_entropy(logits.float(), labels), logits

    def _summary(self, tokens: Tensor, mask: Tensor | None, token_types: Tensor | None) -> Tensor:
        """The hidden state that the head looks at [B, C]."""
        if isinstance(self.backbone, Encoder):
            output: EncoderOutput = self.backbone(tokens, mask, token_types)
            return output.hidden[:, 0] if output.pooled is None else output.pooled
        if token_types is not None:
            raise InputError(
                f"{self.config.name} has no token types.", "Leave the token types out."
            )
        check_padded_right(mask)
        hidden = self.backbone.hidden(tokens)
        if mask is None:
            return hidden[:, -1]
        last = mask.bool().sum(1) - 1  # [B]
        rows = torch.arange(tokens.shape[0], device=tokens.device)
        return hidden[rows, last]


class EncoderClassifier(nn.Module):
    """The head of an encoder: dropout and a linear layer; RoBERTa and DistilBERT have one more."""

    def __init__(self, config: EncoderConfig, labels: int) -> None:
        super().__init__()
        self.family = config.family
        self.dropout = config.dropout.classifier
        has_dense = config.family != "bert"
        self.dense = nn.Linear(config.width, config.width) if has_dense else None
        self.output = nn.Linear(config.width, labels)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C] → logits [B, N]."""
        if self.dense is not None and self.family == "distilbert":
            x = torch.relu(self.dense(x))
        elif self.dense is not None:
            x = torch.tanh(self.dense(F.dropout(x, self.dropout, self.training)))
        logits: Tensor = self.output(F.dropout(x, self.dropout, self.training))
        return logits


class DecoderClassifier(nn.Module):
    """The head of a decoder: a linear layer without biases."""

    def __init__(self, config: ModelConfig, labels: int) -> None:
        super().__init__()
        self.output = nn.Linear(config.width, labels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C] → logits [B, N]."""
        logits: Tensor = self.output(x)
        return logits


def needs_pooler(config: EncoderConfig) -> bool:
    """Whether a classifier on this encoder looks at its pooler's output: BERT's alone."""
    return config.family == "bert"


class MaskedLanguageModel(nn.Module):
    """An encoder without a pooler, a linear layer with a norm, and logits over the vocabulary."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.new_parts: list[str] = []  # those whose weights are of no checkpoint
        # RoBERTa's head has its own activation, whatever the blocks' is.
        self.activation = "gelu" if config.positions_follow_padding else config.activation
        self.backbone = Encoder(config, pooler=False)
        self.transform = nn.Linear(config.width, config.width)
        self.transform_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.head = nn.Linear(config.width, config.vocab_size)
        self.tie()

    def tie(self) -> None:
        """Share the token embedding's tensor with the head where the config says so."""
        if self.config.tied_head:
            self.head.weight = self.backbone.token_embedding.weight

    def forward(
        self,
        tokens: Tensor,
        mask: Tensor | None = None,
        labels: Tensor | None = None,
        token_types: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor]:
        """Mean loss (None without labels), logits [B, S, V]; arguments as of `Encoder`.

        labels [B, S] int64: the token that stands there, -100 where it was shown; all -100 give
        a loss that is no number.
        """
        hidden = self.backbone(tokens, mask, token_types).hidden
        guess = self.transform_norm(activate(self.transform(hidden), self.activation))
        logits: Tensor = self.head(guess)
        return None if labels is None else token_loss(logits, labels), logits
