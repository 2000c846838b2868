"""Data made from a seed that a model can learn: no text, tokens alone."""

import numpy as np

from topout.train.samples import Samples

GENERATED_LABELS = 4
_MARKED = 0.3  # of a sample's tokens, which tell its class
_TELLING = 4  # tokens that tell a class, if the vocabulary has room
_PREDICTABLE = 0.9  # of a language's tokens, which follow from the one before


def generated_classes(count: int, sequence_len: int, vocab_size: int, seed: int) -> Samples:
    """Random sequences in which three tokens of ten are one of the few that tell the class."""
    generator = np.random.default_rng(seed)
    classes = min(GENERATED_LABELS, vocab_size)
    labels = generator.integers(0, classes, size=count).astype(np.int32)
    tokens = generator.integers(0, vocab_size, size=(count, sequence_len))
    few = min(_TELLING, vocab_size // classes)
    own = labels[:, None] * few + generator.integers(0, few, size=tokens.shape)
    marked = generator.random(tokens.shape) < _MARKED
    return Samples(
        tokens=np.where(marked, own, tokens).astype(np.int32),
        lengths=np.full(count, sequence_len, dtype=np.int32),
        labels=labels,
        label_names=[f"class {number}" for number in range(classes)],
        description=f"generated from seed {seed}: {classes} classes, told by their own tokens",
    )


def generated_language(count: int, sequence_len: int, vocab_size: int, seed: int) -> Samples:
    """Sequences in which nine tokens of ten follow from the one before by a fixed table."""
    generator = np.random.default_rng(seed)
    words = min(vocab_size, 256)
    follower = generator.permutation(words)
    tokens = np.empty((count, sequence_len), dtype=np.int32)
    tokens[:, 0] = generator.integers(0, words, size=count)
    for place in range(1, sequence_len):
        follows = generator.random(count) < _PREDICTABLE
        any_word = generator.integers(0, words, size=count)
        tokens[:, place] = np.where(follows, follower[tokens[:, place - 1]], any_word)
    return Samples(
        tokens=tokens,
        lengths=np.full(count, sequence_len, dtype=np.int32),
        labels=np.zeros(count, dtype=np.int32),
        label_names=[],
        description=(
            f"generated from seed {seed}: {words} words, most of which follow from the one before"
        ),
    )
