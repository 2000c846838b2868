"""This process among its ranks: joining them, summing gradients with them, leaving."""

import contextlib
import datetime
import os
import sys
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

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
    dist.init_process_group(backend, timeout=_TIMEOUT)
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
