"""`SequenceClassifier`: an encoder or a decoder that tells classes of texts apart.

Shapes: B batch, S tokens, C width, N labels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from topout.errors import InputError
from topout.models.config import ModelConfig
from topout.models.encoder import Encoder, EncoderOutput
from topout.models.encoder_config import EncoderConfig
from topout.models.trainable_decoder import TrainableDecoder, check_padded_right


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
