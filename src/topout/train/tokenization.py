"""Texts to token ids as a model was trained on them, special tokens included."""

from collections.abc import Sequence

from topout.errors import InputError
from topout.models.source import AnySource
from topout.models.tokenizer import ByteTokenizer
from topout.train.text_data import Encode


def text_encoder(source: AnySource, *, special_tokens: bool) -> Encode:
    """What tokenizes many texts at once; bytes stand for tokens where the model has no tokenizer.

    `special_tokens` puts around each text what the tokenizer's file says (BERT's [CLS] and
    [SEP]). Raises InputError for a file that is not a tokenizer; its function does for a token
    that the model has no row for.
    """
    if source.tokenizer_path is None:
        by_bytes = ByteTokenizer(source.config.vocab_size)
        return lambda texts: [by_bytes.encode(text) for text in texts]
    if source.tokenizer_path.name != "tokenizer.json":
        raise InputError(
            f"{source.tokenizer_path.parent} has no tokenizer.json.",
            "Add it, or train on --generated data.",
        )
    from tokenizers import Tokenizer

    try:
        backend = Tokenizer.from_file(str(source.tokenizer_path))
    except Exception as error:  # the library raises bare Exceptions
        raise InputError(
            f"{source.tokenizer_path} is not a tokenizer ({error}).", "Download it again."
        ) from None
    backend.no_truncation()
    backend.no_padding()

    def encode(texts: Sequence[str]) -> list[list[int]]:
        found = backend.encode_batch(list(texts), add_special_tokens=special_tokens)
        rows: list[list[int]] = [each.ids for each in found]
        highest = max((max(row) for row in rows if row), default=0)
        if highest >= source.config.vocab_size:
            raise InputError(
                f"{source.tokenizer_path} gives the token {highest}, and the model's vocabulary "
                f"ends at {source.config.vocab_size - 1}.",
                "Give the tokenizer that belongs to the model.",
            )
        return rows

    return encode
