"""A model of one pass under a stack, ready for inputs of any length or number."""

import threading

import torch
from torch import Tensor

from topout.errors import InputError
from topout.generation.build import build_pass_session
from topout.generation.pass_session import PassSession
from topout.measure.process import Closing
from topout.models.pass_config import PassConfig
from topout.models.text import Tokenizer, load_tokenizer
from topout.records import Doubt
from topout.winner.choice import Choice


class LoadedPass(Closing):
    """An encoder or image classifier under a stack of rungs: call it with a batch, or a text.

    One call at a time: another one meanwhile raises InputError. A rung that makes graphs makes one
    for each shape of input, when that first comes. Close it, or use it in a `with` block.
    """

    def __init__(self, choice: Choice) -> None:
        if choice.threads is not None:
            torch.set_num_threads(choice.threads)
        config = choice.build.source.config
        assert isinstance(config, PassConfig)
        self.choice, self._config = choice, config
        self._session: PassSession | None = build_pass_session(choice.build, choice.stack.rungs)
        self._in_use = threading.Lock()
        self.tokenizer: Tokenizer | None = None
        if config.takes == "tokens":
            self.tokenizer = load_tokenizer(choice.build.source)

    @property
    def stack(self) -> str:
        """The rungs in force, joined by " + "."""
        return self.choice.stack.label

    @property
    def doubts(self) -> list[Doubt]:
        """Why outputs or speed may not be what was climbed."""
        return self.choice.doubts

    @property
    def module(self) -> torch.nn.Module:
        """The module of transformers with what rungs have put into it; InputError once closed."""
        return self._open().module

    def __repr__(self) -> str:
        return f"LoadedPass({self._config.name}, {self.stack})"

    def close(self) -> None:
        """Let the model go."""
        self._session = None

    def __call__(self, batch: Tensor | str) -> Tensor:
        """Token ids [B, S], images [B, channels, height, width], or one text → what comes out.

        That are logits [B, …, labels] where the model has a head, else hidden states [B, S, C],
        in fp32 on the CPU. Rows have no padding. Raises InputError for another shape, for tokens
        that the model does not have, for a call during another one, and once closed.
        """
        session = self._open()
        x = self._tokens(batch) if isinstance(batch, str) else batch
        self._check(x)
        if not self._in_use.acquire(blocking=False):
            raise InputError("the model runs another batch.", "Wait for it, or load it twice.")
        try:
            return session.call(x).float().cpu()
        finally:
            self._in_use.release()

    def _open(self) -> PassSession:
        if self._session is None:
            raise InputError("the model is closed.", "Load it again.")
        return self._session

    def _tokens(self, text: str) -> Tensor:
        if self.tokenizer is None:
            raise InputError(f"{self._config.name} takes images.", "Give a batch of them.")
        ids = self.tokenizer.encode_sequence(text, self._config.context_len)
        return torch.tensor([ids])

    def _check(self, x: Tensor) -> None:
        config = self._config
        if config.takes == "images":
            wanted = (config.channels, config.image_size, config.image_size)
            if x.dim() != 4 or x.shape[1:] != wanted or not len(x) or not x.is_floating_point():
                raise InputError(
                    f"a batch of shape {list(x.shape)} in {x.dtype} are no images.",
                    f"Give [B, {', '.join(map(str, wanted))}] in floating point.",
                )
            return
        if x.dim() != 2 or not x.numel() or x.is_floating_point() or x.dtype == torch.bool:
            raise InputError(
                f"a batch of shape {list(x.shape)} in {x.dtype} are no token ids.",
                "Give [B, S] of whole numbers, with B and S at least 1.",
            )
        if x.shape[1] > config.context_len:
            raise InputError(
                f"{x.shape[1]} tokens do not fit into the {config.context_len} positions of "
                f"{config.name}.",
                "Cut the text.",
            )
        if int(x.min()) < 0 or int(x.max()) >= config.vocab_size:
            raise InputError(
                f"the batch holds what is no token: {config.name} has {config.vocab_size}.",
                "Encode the text with the tokenizer of the model.",
            )
