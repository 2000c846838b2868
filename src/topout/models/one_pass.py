"""A module of transformers as a function of one tensor that gives one tensor."""

from typing import Any

from torch import Tensor, nn


class OnePass(nn.Module):
    """A module and the one of its outputs that is wanted: the logits, else the last hidden state.

    Its input is the one that the module names as its main one, `input_ids` or `pixel_values`.
    """

    def __init__(self, module: nn.Module, **options: Any) -> None:
        super().__init__()
        self.module = module
        self._input = str(module.main_input_name)
        self._options = options  # of the module's forward

    def forward(self, x: Tensor) -> Tensor:
        """x [B, S] int64, or [B, channels, height, width] → [B, …, outputs]."""
        output: Any = self.module(**{self._input: x}, **self._options)
        logits = getattr(output, "logits", None)
        found: Tensor = output.last_hidden_state if logits is None else logits
        return found
