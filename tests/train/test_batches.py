"""Which samples a rank gets: all of them once per pass, whatever the ranks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from topout.train.batches import BatchSource, sample_numbers
from topout.train.samples import Samples, save_samples

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
