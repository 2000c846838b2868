"""Two ranks of gloo do what one process does on their batches joined; every sample has its turn."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from tests.launch.test_local import ONE_THREAD
from tests.train.ddp_program import ACCUMULATION, trained
from topout.launch.local import run_ranks
from topout.train.data import Samples, generated_classes, save_samples
from topout.train.distributed import BatchSource, Ranks, sample_numbers


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
        environment={**ONE_THREAD, "GLOO_SOCKET_IFNAME": "lo"},
    )
    first, second = load_file(f"{output}-0"), load_file(f"{output}-1")
    assert largest_difference(first, second) == 0.0  # both ranks have the same bits
    # One process: the batches of both ranks side by side, and all accumulated ones at once.
    joined = dict(trained(Ranks(), 2 * 3 * ACCUMULATION, samples, 1).state_dict())
    assert largest_difference(first, joined) < 1e-5
    # The comparison would notice: half of the samples lead elsewhere.
    other = dict(trained(Ranks(), 3 * ACCUMULATION, samples, 1).state_dict())
    assert largest_difference(first, other) > 1e-3


def test_ranks_are_reached_over_the_loopback_alone(tmp_path: Path) -> None:
    run_ranks(
        "tests.train.meeting_program",
        [str(tmp_path)],
        ranks=2,
        logs=tmp_path / "logs",
        environment={**ONE_THREAD, "GLOO_SOCKET_IFNAME": "lo"},
    )
    for rank in range(2):
        total, addresses = json.loads((tmp_path / f"{rank}.json").read_text())
        assert total == 1 + 2
        assert set(addresses) <= {"127.0.0.1", "::1"}, addresses


def test_without_torchruns_variables_there_is_one_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert Ranks.from_environment() == Ranks(rank=0, local_rank=0, world_size=1)


small = st.integers(1, 5)


@given(step=st.integers(0, 20), ranks=small, batch_size=small, accumulation=small)
def test_a_step_takes_the_next_places_and_each_once(
    step: int, ranks: int, batch_size: int, accumulation: int
) -> None:
    shape = {"ranks": ranks, "batch_size": batch_size, "accumulation": accumulation}
    places = [
        place
        for micro in range(accumulation)
        for rank in range(ranks)
        for place in sample_numbers(step, micro, rank, **shape)
    ]
    whole = ranks * batch_size * accumulation
    assert places == list(range(step * whole, (step + 1) * whole))


@pytest.fixture
def source(tmp_path: Path) -> BatchSource:
    """Seven samples; sample n is n tokens of n, padded with 99."""
    tokens = np.full((7, 8), 99, dtype=np.int32)
    for row in range(7):
        tokens[row, : row + 1] = row
    samples = Samples(
        tokens=tokens,
        lengths=np.arange(1, 8, dtype=np.int32),
        labels=np.arange(7, dtype=np.int32),
        label_names=list("abcdefg"),
        description="",
    )
    save_samples(samples, tmp_path / "samples")
    return BatchSource(tmp_path / "samples", "classify", seed=5)


def test_every_sample_comes_once_in_a_pass_and_passes_differ(source: BatchSource) -> None:
    passes = [source.batch(np.arange(7 * n, 7 * n + 7)).labels.tolist() for n in range(4)]
    assert all(sorted(each) == list(range(7)) for each in passes)
    assert len({tuple(each) for each in passes}) > 1


def test_a_batch_across_two_passes_has_the_end_of_one_and_the_start_of_the_next(
    source: BatchSource,
) -> None:
    across = source.batch(np.arange(5, 9)).labels.tolist()
    assert across[:2] == source.batch(np.arange(5, 7)).labels.tolist()
    assert across[2:] == source.batch(np.arange(7, 9)).labels.tolist()


def test_the_mask_is_true_where_there_is_a_token(source: BatchSource) -> None:
    batch = source.batch(np.arange(7))
    assert torch.equal(batch.mask, batch.tokens != 99)
    assert batch.mask.sum(1).tolist() == [label + 1 for label in batch.labels.tolist()]


def test_a_language_model_learns_the_tokens(tmp_path: Path, source: BatchSource) -> None:
    as_language = BatchSource(tmp_path / "samples", "lm", seed=5)
    batch = as_language.batch(np.arange(3))
    assert torch.equal(batch.labels, batch.tokens)
