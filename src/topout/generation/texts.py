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
from topout.records import WorkloadSummary

PROMPTS = 4  # timed in turn: what a speculation accepts depends on the text
MOST_WINDOWS = 6
# A token of the bundled tokenizer is about 3 bytes of Python; a margin, since text is repeated
# when it does not reach.
_BYTES_PER_TOKEN = 5
MOST_ROW_LEN = 512
MOST_ROW_TOKENS = 16384  # of each text


@dataclass(frozen=True)
class Texts:
    """Where the cut text lies, and what it is."""

    path: Path  # safetensors: prompts [P, B, S] and windows [W, S + T]
    windows: int
    scored_tokens: int  # T of a window
    scored_bytes: tuple[int, ...]  # bytes that the scored tokens of each window stand for
    description: str
    row_texts: tuple[str, ...]  # the text that each row of `rows` is of
    row_len: int
    rows_digest: str


def cut_texts(
    source: ModelSource,
    workload: WorkloadSummary,
    text_path: str | None,
    scored_tokens: int,
    path: Path,
) -> Texts:
    """Cut text into PROMPTS prompts, MOST_WINDOWS windows (whole batches of them), and rows.

    Windows do not overlap each other, nor do rows; of a text that is too short, windows repeat,
    rows do not. Raises InputError when the text is too short for one window.
    """
    tokenizer = load_tokenizer(source)
    batch = workload.batch_size
    windows = max(1, MOST_WINDOWS // batch) * batch
    window_len = workload.prompt_len + scored_tokens
    needed = windows * window_len
    most_bytes = max(needed, MOST_ROW_TOKENS) * _BYTES_PER_TOKEN
    if text_path is None:
        heldout = heldout_text(most_bytes)
        description = heldout.description
        texts = {"Python": heldout.text, "English": english_text()[:most_bytes]}
    else:
        texts, description = {text_path: read_text(Path(text_path))[:most_bytes]}, text_path
    tokens_of = {name: tokenizer.encode(text) for name, text in texts.items() if text}
    tokens = next(iter(tokens_of.values()))
    if len(tokens) < window_len:
        raise InputError(
            f"the text of {description} has {len(tokens)} tokens, and a window needs {window_len}.",
            "Give a longer --text or a shorter --prompt-len.",
        )
    row_texts, rows = _rows(tokens_of, min(window_len, MOST_ROW_LEN))
    tokens = (tokens * (needed // len(tokens) + 1))[:needed]
    cut = torch.tensor(tokens).reshape(windows, window_len)
    prompt_rows = [cut[i % windows, : workload.prompt_len] for i in range(PROMPTS * batch)]
    prompts = torch.stack(prompt_rows).reshape(PROMPTS, batch, workload.prompt_len)
    save_file({"prompts": prompts, "windows": cut.contiguous(), "rows": rows}, path)
    scored_bytes = tuple(
        len(tokenizer.decode(row[workload.prompt_len :].tolist()).encode()) for row in cut
    )
    return Texts(
        path=path,
        windows=windows,
        scored_tokens=scored_tokens,
        scored_bytes=scored_bytes,
        description=description,
        row_texts=row_texts,
        row_len=rows.shape[1],
        rows_digest=hashlib.sha256(rows.numpy().tobytes()).hexdigest(),
    )


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
