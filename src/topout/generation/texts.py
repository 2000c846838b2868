"""Real text cut into prompts to time, windows to verify on, and rows to compare losses on."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from topout.errors import InputError
from topout.models.source import ModelSource
from topout.models.text import english_text, heldout_text, load_tokenizer, read_text
from topout.records import Doubt, WorkloadSummary
from topout.tensor_file import writing_tensors

PROMPTS = 4  # timed in turn: what a speculation accepts depends on the text
WANTED_POSITIONS = 640  # scored in all windows together: some of them are not decided
MOST_BATCHES = 8  # of windows, where few tokens are scored of each
MOST_ROW_LEN = 512
MOST_ROW_TOKENS = 16384  # of each text
# A token of the bundled tokenizer is about 3 bytes of Python; a margin, since text is repeated
# when it does not reach.
_BYTES_PER_TOKEN = 5
_FEW_BYTES_PER_TOKEN = 1.5


@dataclass(frozen=True)
class Texts:
    """Where the cut text lies, and what it is."""

    path: Path  # safetensors: prompts [P, B, S], windows [W, S + N] and rows [R, L]
    prompt_lens: tuple[int, ...]  # of each window
    scored_tokens: int  # T of a window, behind its prompt
    scored_bytes: tuple[int, ...]  # bytes that the scored tokens of each window stand for
    description: str
    row_texts: tuple[str, ...]  # the text that each row is of
    row_len: int
    rows_digest: str
    bytes_per_token: dict[str, float]  # of each text

    def doubts(self) -> list[Doubt]:
        """Texts that are unlike what a trained tokenizer was made for."""
        return [
            Doubt(
                about="quality",
                sentence=(
                    f"The tokenizer takes {each:.2f} bytes per token of {name}, and 3 to 5 of the "
                    "text that it was made for: a loss of this text says little."
                ),
                remedy="Give a --text in the language of the model.",
            )
            for name, each in self.bytes_per_token.items()
            if each < _FEW_BYTES_PER_TOKEN
        ]


def cut_texts(
    source: ModelSource,
    workload: WorkloadSummary,
    text_paths: list[str] | None,
    scored_tokens: int,
    path: Path,
) -> Texts:
    """Cut texts into PROMPTS prompts of the first, and windows (whole batches) and rows of all.

    Windows do not overlap each other, nor do rows; of a text that is too short windows repeat,
    rows do not. Raises InputError when a text is too short for one window.
    """
    tokenizer = load_tokenizer(source)
    batch, prompt_len = workload.batch_size, workload.prompt_len
    window_len = prompt_len + workload.new_tokens
    lens = prompt_lengths(workload, scored_tokens)
    most_bytes = _BYTES_PER_TOKEN * max(MOST_ROW_TOKENS, window_len * batch * len(lens))
    texts, description = read_texts(text_paths, most_bytes)
    tokens_of = {name: tokenizer.encode(text) for name, text in texts.items()}
    for name, tokens in tokens_of.items():
        if len(tokens) < window_len:
            raise InputError(
                f"the text of {name} has {len(tokens)} tokens, and a window needs {window_len}.",
                "Give a longer --text, or a shorter --prompt-len or --new-tokens.",
            )
    first = next(iter(tokens_of.values()))
    prompts = _stretches(first, PROMPTS * batch, window_len)[:, :prompt_len]
    windows = torch.cat(_windows(list(tokens_of.values()), len(lens), batch, window_len))
    row_texts, rows = _rows(tokens_of, min(window_len, MOST_ROW_LEN))
    tensors = {"prompts": prompts.reshape(PROMPTS, batch, prompt_len), "windows": windows}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with writing_tensors(path, "run folder"):
        save_file(tensors | {"rows": rows}, path)
    prompt_lens = tuple(each for each in lens for _ in range(batch))
    scored = [
        row[first : first + scored_tokens].tolist()
        for row, first in zip(windows, prompt_lens, strict=True)
    ]
    return Texts(
        path=path,
        prompt_lens=prompt_lens,
        scored_tokens=scored_tokens,
        scored_bytes=tuple(len(tokenizer.decode(each).encode()) for each in scored),
        description=description,
        row_texts=row_texts,
        row_len=rows.shape[1],
        rows_digest=hashlib.sha256(rows.numpy().tobytes()).hexdigest(),
        bytes_per_token={
            name: len(text.encode()) / len(tokens_of[name]) for name, text in texts.items()
        },
    )


def prompt_lengths(workload: WorkloadSummary, scored_tokens: int) -> list[int]:
    """The prompt's length in each batch of windows: the timed one, a short one, and others.

    One that ends where the cache does, and the timed one again, until enough positions are scored.
    """
    whole = workload.prompt_len + workload.new_tokens
    wanted = -(-WANTED_POSITIONS // (workload.batch_size * scored_tokens))
    lens = [
        workload.prompt_len,
        max(1, workload.prompt_len // 2),
        whole - scored_tokens,
        *[workload.prompt_len] * MOST_BATCHES,
    ]
    return lens[: min(max(3, wanted), MOST_BATCHES)]


def read_texts(paths: list[str] | None, most_bytes: int) -> tuple[dict[str, str], str]:
    """(texts by name, a description of them all); raises InputError."""
    if paths is not None:
        return {path: read_text(Path(path))[:most_bytes] for path in paths}, ", ".join(paths)
    python, english = heldout_text(most_bytes), english_text()[:most_bytes]
    if not english:
        return {"Python": python.text}, python.description
    return (
        {"Python": python.text, "English": english},
        f"{python.description}; English: the language reference of Python",
    )


def _stretches(tokens: list[int], count: int, length: int) -> Tensor:
    """[count, length]: one after the other, the text repeated where it does not reach."""
    repeated = tokens * (count * length // len(tokens) + 1)
    return torch.tensor(repeated[: count * length]).reshape(count, length)


def _windows(texts: list[list[int]], batches: int, batch: int, length: int) -> list[Tensor]:
    """[batch, length] each, of the texts in turn."""
    of_each = -(-batches // len(texts))
    cut = [torch.split(_stretches(tokens, of_each * batch, length), batch) for tokens in texts]
    return [cut[place % len(texts)][place // len(texts)] for place in range(batches)]


def _rows(tokens_of: dict[str, list[int]], row_len: int) -> tuple[tuple[str, ...], Tensor]:
    """(name of each row's text, rows [R, L]): one row of each text in turn."""
    most = MOST_ROW_TOKENS // row_len
    rows_of = {
        name: torch.tensor(tokens[: len(tokens) // row_len * row_len]).reshape(-1, row_len)[:most]
        for name, tokens in tokens_of.items()
    }
    turns = sorted(
        (turn, order, name)
        for order, (name, rows) in enumerate(rows_of.items())
        for turn in range(len(rows))
    )
    rows = torch.stack([rows_of[name][turn] for turn, _, name in turns])
    return tuple(name for _, _, name in turns), rows
