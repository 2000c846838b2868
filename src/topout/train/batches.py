"""Which samples a rank gets at which step: all ranks together go through every sample in turn."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from topout.records import TrainTask


class Batch(NamedTuple):
    """A micro-batch of one rank, on its device."""

    tokens: Tensor  # [B, S] int64
    mask: Tensor  # [B, S] bool, True where there is a token
    labels: Tensor  # [B] int64 of a classifier; [B, S] of a language model: the tokens themselves


def sample_numbers(
    step: int, micro: int, rank: int, *, ranks: int, batch_size: int, accumulation: int
) -> NDArray[np.int64]:
    """Places [B] in the endless order of samples that a micro-batch takes.

    Step s takes the places from s·A·n·B on, A micro-batches after each other and n ranks side by
    side in each: n ranks with batch B see in a step what one rank sees with batch n·B.
    """
    first = ((step * accumulation + micro) * ranks + rank) * batch_size
    return np.arange(first, first + batch_size, dtype=np.int64)


class BatchSource:
    """Micro-batches out of a file of samples, in an order that depends on the seed alone."""

    def __init__(
        self, path: Path, task: TrainTask, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        from safetensors.numpy import load_file

        arrays = load_file(path)
        self._tokens = arrays["tokens"]
        self._lengths = arrays["lengths"]
        self._labels = arrays["labels"]
        self._task = task
        self._seed = seed
        self._device = torch.device(device)
        self._orders: dict[int, NDArray[np.int64]] = {}

    @property
    def count(self) -> int:
        """Samples in the file."""
        return len(self._lengths)

    def batch(self, numbers: NDArray[np.int64]) -> Batch:
        """The micro-batch of these places, on the device."""
        rows = self._rows(numbers)
        tokens = torch.from_numpy(self._tokens[rows]).long()
        lengths = torch.from_numpy(self._lengths[rows])
        mask = torch.arange(tokens.shape[1]) < lengths[:, None]
        labels = tokens if self._task == "lm" else torch.from_numpy(self._labels[rows]).long()
        return Batch(*(each.to(self._device) for each in (tokens, mask, labels)))

    def _rows(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the file; every pass over it has an order of its own."""
        passes, places = np.divmod(numbers, self.count)
        return np.array(
            [self._order(int(turn))[place] for turn, place in zip(passes, places, strict=True)],
            dtype=np.int64,
        )

    def _order(self, turn: int) -> NDArray[np.int64]:
        if turn not in self._orders:
            generator = np.random.default_rng([self._seed, turn])
            # One batch may end a pass and begin the next.
            self._orders = {each: order for each, order in self._orders.items() if each == turn - 1}
            self._orders[turn] = generator.permutation(self.count)
        return self._orders[turn]
