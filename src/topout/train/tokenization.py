"""Texts to token ids as a model was trained on them, special tokens included."""

from collections.abc import Sequence

from topout.models.source import AnySource
from topout.models.tokenizer import load_tokenizer
from topout.train.text_data import Encode


def text_encoder(source: AnySource, most_tokens: int, *, special_tokens: bool) -> Encode:
    """What tokenizes many texts; bytes stand for tokens where the model has no tokenizer.

    `special_tokens` puts around each text what the tokenizer's file says (BERT's [CLS] and
    [SEP]), and cuts it to `most_tokens` with them. Raises InputError for a file that is not a
    tokenizer; its function does for a token that the model has no row for.
    """
    tokenizer = load_tokenizer(source)

    def encode(texts: Sequence[str]) -> list[list[int]]:
        if special_tokens:
            return [tokenizer.encode_sequence(text, most_tokens) for text in texts]
        return [tokenizer.encode(text) for text in texts]

    return encode
