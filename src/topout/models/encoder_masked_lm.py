"""`MaskedLanguageModel`: an encoder that guesses the tokens it was not shown."""

from torch import Tensor, nn

from topout.models.decoder import activate
from topout.models.encoder import Encoder
from topout.models.encoder_config import EncoderConfig
from topout.models.token_loss import token_loss


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
