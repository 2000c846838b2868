"""Two ranks take two steps, and rank 0 writes the weights; one process compares with its own."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.train.tiny_network import seeded
from topout.train.distributed import (
    Batch,
    BatchSource,
    Ranks,
    data_parallel,
    end_process,
    join,
    sample_numbers,
    wait_for_all,
)
from topout.train.step import Trainer

STEPS, ACCUMULATION = 2, 2


def trained(ranks: Ranks, batch_size: int, samples: Path, accumulation: int) -> torch.nn.Module:
    """The network after some steps of this rank."""
    plain = seeded()
    trainer = Trainer(
        data_parallel(plain, torch.device("cpu")),
        device=torch.device("cpu"),
        dtype="fp32",
        accumulation=accumulation,
        learning_rate=0.1,
        weight_decay=0.01,
    )
    source = BatchSource(samples, "classify", seed=3)
    for step in range(STEPS):

        def batch(micro: int, step: int = step) -> Batch:
            return source.batch(
                sample_numbers(
                    step,
                    micro,
                    ranks.rank,
                    ranks=ranks.world_size,
                    batch_size=batch_size,
                    accumulation=accumulation,
                )
            )

        trainer.step(batch)
    return plain


def main(samples: str, output: str) -> None:
    ranks = Ranks.from_environment()
    join(ranks, torch.device("cpu"))
    network = trained(ranks, 3, Path(samples), ACCUMULATION)
    save_file(dict(network.state_dict()), f"{output}-{ranks.rank}")
    wait_for_all()
    end_process(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
