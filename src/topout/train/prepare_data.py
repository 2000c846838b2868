"""A request's data as samples: read or made, tokenized, ahead of all steps."""

from topout.errors import InputError
from topout.models.source import AnySource
from topout.records import TrainTask
from topout.train.generated_data import generated_classes, generated_language
from topout.train.request import TrainRequest
from topout.train.rows import read_rows
from topout.train.samples import Samples
from topout.train.text_data import classified_texts, language_windows
from topout.train.tokenization import text_encoder

MOST_GENERATED = 1024  # more are gone through again: what is learned is the same


def prepare_data(
    request: TrainRequest, source: AnySource, task: TrainTask, sequence_len: int, padding: int
) -> Samples:
    """The samples of all cases, at most as many as the largest one sees.

    Raises InputError for a file that cannot be used, UnsupportedError for a format not read.
    """
    needed = request.step_count * request.accumulation * request.batch_size * max(request.ranks)
    if request.data is None:
        make = generated_classes if task == "classify" else generated_language
        vocab_size = source.config.vocab_size
        return make(min(needed, MOST_GENERATED), sequence_len, vocab_size, request.seed)
    path = request.data
    if not path.is_file():
        raise InputError(f"there is no file {path}.", "Check --data.")
    label_column = request.label_column if task == "classify" else None
    rows = read_rows(path, request.text_column, label_column, skip_bad_rows=request.skip_bad_rows)
    encode = text_encoder(source, sequence_len, special_tokens=task == "classify")
    if task == "classify":
        return classified_texts(
            path,
            rows,
            encode,
            sequence_len=sequence_len,
            padding=padding,
            needed=needed,
            seed=request.seed,
        )
    return language_windows(
        path, rows, encode, sequence_len=sequence_len, needed=needed, seed=request.seed
    )
