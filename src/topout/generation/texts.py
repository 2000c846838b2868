"""Real text cut into prompts to time and windows to verify on."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from topout.errors import InputError
from topout.models.source import ModelSource
from topout.models.text import heldout_text, load_tokenizer, read_text
from topout.records import WorkloadSummary

PROMPTS = 4  # timed in turn: what a speculation accepts depends on the text
MOST_WINDOWS = 6
# A token of the bundled tokenizer is about 3 bytes of Python; a margin, since text is repeated
# when it does not reach.
_BYTES_PER_TOKEN = 5


@dataclass(frozen=True)
class Texts:
    """Where the cut text lies, and what it is."""

    path: Path  # safetensors: prompts [P, B, S] and windows [W, S + T]
    windows: int
    scored_tokens: int  # T of a window
    scored_bytes: tuple[int, ...]  # bytes that the scored tokens of each window stand for
    description: str


def cut_texts(
    source: ModelSource,
    workload: WorkloadSummary,
    text_path: str | None,
    scored_tokens: int,
    path: Path,
) -> Texts:
    """Cut text into PROMPTS prompts and MOST_WINDOWS windows (whole batches of them).

    Windows do not overlap each other. Raises InputError when the text is too short for one.
    """
    tokenizer = load_tokenizer(source)
    batch = workload.batch_size
    windows = max(1, MOST_WINDOWS // batch) * batch
    window_len = workload.prompt_len + scored_tokens
    needed = windows * window_len
    if text_path is None:
        heldout = heldout_text(needed * _BYTES_PER_TOKEN)
        text, description = heldout.text, heldout.description
    else:
        text, description = read_text(Path(text_path)), text_path
    tokens = tokenizer.encode(text)
    if len(tokens) < window_len:
        raise InputError(
            f"the text of {description} has {len(tokens)} tokens, and a window needs {window_len}.",
            "Give a longer --text or a shorter --prompt-len.",
        )
    tokens = (tokens * (needed // len(tokens) + 1))[:needed]
    rows = torch.tensor(tokens).reshape(windows, window_len)
    prompt_rows = [rows[i % windows, : workload.prompt_len] for i in range(PROMPTS * batch)]
    prompts = torch.stack(prompt_rows).reshape(PROMPTS, batch, workload.prompt_len)
    save_file({"prompts": prompts, "windows": rows.contiguous()}, path)
    scored_bytes = tuple(
        len(tokenizer.decode(row[workload.prompt_len :].tolist()).encode()) for row in rows
    )
    return Texts(
        path=path,
        windows=windows,
        scored_tokens=scored_tokens,
        scored_bytes=scored_bytes,
        description=description,
    )
