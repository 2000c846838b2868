"""Two ranks of gloo do what one process does on their batches joined."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.launch.test_local import ENVIRONMENT
from tests.train.ddp_program import ACCUMULATION, trained
from topout.launch.local import run_ranks
from topout.train.distributed import Ranks
from topout.train.generated_data import generated_classes
from topout.train.samples import save_samples


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "samples.safetensors"
    save_samples(generated_classes(40, 12, 64, seed=1), path)
    return path


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_ranks_take_the_steps_of_one_process_on_the_joined_batch(
    samples: Path, tmp_path: Path
) -> None:
    output = tmp_path / "weights"
    run_ranks(
        "tests.train.ddp_program",
        [str(samples), str(output)],
        ranks=2,
        logs=tmp_path / "logs",
        environment={**ENVIRONMENT, "GLOO_SOCKET_IFNAME": "lo"},
    )
    first, second = load_file(f"{output}-0"), load_file(f"{output}-1")
    assert largest_difference(first, second) == 0.0  # both ranks have the same bits
    # One process: the batches of both ranks side by side, and all accumulated ones at once.
    joined = dict(trained(Ranks(), 2 * 3 * ACCUMULATION, samples, 1).state_dict())
    assert largest_difference(first, joined) < 1e-5
    # The comparison would notice: half of the samples lead elsewhere.
    other = dict(trained(Ranks(), 3 * ACCUMULATION, samples, 1).state_dict())
    assert largest_difference(first, other) > 1e-3


def test_without_torchruns_variables_there_is_one_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert Ranks.from_environment() == Ranks(rank=0, local_rank=0, world_size=1)
