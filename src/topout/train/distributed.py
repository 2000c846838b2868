"""This process among its ranks: its share of the samples, the sum of gradients, its end."""

import contextlib
import datetime
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from topout.launch.local import STORE_VARIABLE
from topout.records import TrainTask

# A rank that is this late will not come; a rank that dies is noticed by the launcher at once.
_TIMEOUT = datetime.timedelta(minutes=10)


@dataclass(frozen=True)
class Ranks:
    """Which of how many ranks this process is, as torchrun says it."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @classmethod
    def from_environment(cls) -> "Ranks":
        """As the variables that torchrun sets say; without them, one rank alone."""
        return cls(
            rank=int(os.environ.get("RANK", "0")),
            local_rank=int(os.environ.get("LOCAL_RANK", "0")),
            world_size=int(os.environ.get("WORLD_SIZE", "1")),
        )

    def device(self, kind: str) -> torch.device:
        """The device of this rank: one GPU each."""
        if kind == "cpu":
            return torch.device("cpu")
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)


def join(ranks: Ranks, device: torch.device) -> str | None:
    """Meet the other ranks and return the backend; None where there are none."""
    if ranks.world_size == 1:
        return None
    backend = "nccl" if device.type == "cuda" else "gloo"
    file = os.environ.get(STORE_VARIABLE)
    if file is None or backend == "nccl":  # another torchrun's ranks; NCCL opens ports anyway
        dist.init_process_group(backend, timeout=_TIMEOUT)
        return backend
    store = dist.FileStore(file, ranks.world_size)  # type: ignore[attr-defined]
    dist.init_process_group(
        backend, store=store, rank=ranks.rank, world_size=ranks.world_size, timeout=_TIMEOUT
    )
    return backend


def data_parallel(network: nn.Module, device: torch.device) -> nn.Module:
    """`network` with its gradients averaged over the ranks in backward; itself where it is alone.

    Gradients are summed bucket by bucket while backward still computes those of earlier layers.
    """
    if not dist.is_initialized():
        return network
    device_ids = [device.index] if device.type == "cuda" else None
    # Buffers are tables that no step changes: sending them before each forward would be waste.
    return DistributedDataParallel(network, device_ids=device_ids, broadcast_buffers=False)


def without_sum(network: nn.Module) -> contextlib.AbstractContextManager[None]:
    """A span in which gradients stay on their rank; DDP looks at it in forward and backward."""
    if isinstance(network, DistributedDataParallel):
        return network.no_sync()
    return contextlib.nullcontext()


def wait_for_all() -> None:
    """Return when every rank has come here; at once where there is one."""
    if dist.is_initialized():
        dist.barrier()


def end_process(exit_status: int) -> None:
    """End this process without taking PyTorch apart; everything is written by now.

    The threads of gloo now and then abort the interpreter while it ends ("terminate called
    without an active exception"), and a rank that failed may wait there for the others.
    """
    if exit_status == 0 and dist.is_initialized() and dist.get_backend() == "nccl":
        dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_status)


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
