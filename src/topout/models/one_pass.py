"""A module of transformers as a function of one tensor that gives one tensor."""

from typing import Any

import torch
from torch import Tensor, nn

_WANTED = ("logits", "prediction_logits", "last_hidden_state")  # the first that is there


class OnePass(nn.Module):
    """A module and the one of its outputs that is wanted: the logits, else the last hidden state.

    Of two kinds of logits those of the tokens; where an answer starts and where it ends are two
    logits of a token. Its input is the one that the module names as its main one, `input_ids` or
    `pixel_values`.
    """

    def __init__(self, module: nn.Module, **options: Any) -> None:
        super().__init__()
        self.module = module
        self._input = str(module.main_input_name)
        self._options = options  # of the module's forward

    def forward(self, x: Tensor) -> Tensor:
        """x [B, S] int64, or [B, channels, height, width] → [B, …, outputs]."""
        output: Any = self.module(**{self._input: x}, **self._options)
        for name in _WANTED:
            found: Tensor | None = getattr(output, name, None)
            if found is not None:
                return found
        return torch.stack([output.start_logits, output.end_logits], dim=-1)
