"""The byte-level BPE tokenizer of the bundled models."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0
VOCAB_SIZE = 4096


def train_tokenizer(texts: Iterable[str], vocab_size: int = VOCAB_SIZE) -> Tokenizer:
    """Learn a byte-level BPE from `texts`.

    GPT-2's own split is kept: every engine knows it, and on Python it does what a split made for
    code would do. A newline with the indentation after it is one piece, less the last space,
    which goes to the word that follows, so that an indented `return` and one within a line are
    the same token.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode_document(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of one document, after the end-of-text token that sets it apart."""
    ids: list[int] = tokenizer.encode(text).ids
    return [END_OF_TEXT_ID, *ids]
