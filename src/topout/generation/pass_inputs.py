"""Input for models of one pass: batches to time and to verify on, of real text or made images."""

import dataclasses
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from topout.errors import InputError, UnsupportedError
from topout.generation.texts import PROMPTS, Texts, read_texts
from topout.models.one_pass import OnePass
from topout.models.pass_model import load_pass
from topout.models.source import PassSource
from topout.models.structure.build import build_on_meta
from topout.models.text import Tokenizer, load_tokenizer
from topout.records import WorkloadSummary
from topout.tensor_file import writing_tensors

WINDOWS = 32  # sequences or images that outputs are compared on, at the least
_BYTES_PER_TOKEN = 6
_COARSEST, _LEVELS = 4, 4  # grid points on a side of the smoothest part of an image, and parts


def cut_inputs(
    source: PassSource, workload: WorkloadSummary, text_paths: list[str] | None, path: Path
) -> Texts:
    """Write PROMPTS batches to time and `WINDOWS` inputs to verify on to `path`.

    Text is cut into whole sequences with the special tokens around them. Raises InputError for a
    text that is too short, or given to a model of images.
    """
    batch = workload.batch_size
    windows = -(-WINDOWS // batch) * batch
    count = PROMPTS * batch + windows
    if source.config.takes == "images":
        if text_paths is not None:
            raise InputError(f"{source.name} takes images.", "Leave --text out for this model.")
        made = made_images(count, source.config.channels, source.config.image_size, workload.seed)
        description = "made images: smooth random colours"
        rates: dict[str, float] = {}
    else:
        made, description, rates = _sequences(source, workload.prompt_len, count, text_paths)
    prompts = made[: PROMPTS * batch].reshape(PROMPTS, batch, *made.shape[1:])
    tensors = {
        "prompts": prompts.contiguous(),
        "windows": made[PROMPTS * batch :].contiguous(),
        "rows": torch.zeros(0, 1, dtype=torch.int64),
    }
    with writing_tensors(path, "run folder"):
        save_file(tensors, path)
    return Texts(
        path=path,
        prompt_lens=(workload.prompt_len,) * windows,
        scored_tokens=0,
        scored_bytes=(0,) * windows,
        description=description,
        row_texts=(),
        row_len=1,
        rows_digest="",
        bytes_per_token=rates,
    )


def _sequences(
    source: PassSource, length: int, count: int, paths: list[str] | None
) -> tuple[Tensor, str, dict[str, float]]:
    """(sequences [count, S], what the text is, bytes per token of each text)."""
    tokenizer = load_tokenizer(source)
    before, behind = special_tokens(tokenizer)
    room = length - len(before) - len(behind)
    if room < 1:
        raise InputError(
            f"a length of {length} tokens leaves no room for text.",
            f"Give --prompt-len {length - room + 1} or more.",
        )
    texts, description = read_texts(paths, _BYTES_PER_TOKEN * count * room)
    tokens_of = {name: tokenizer.encode(text) for name, text in texts.items()}
    pieces = []
    for name, tokens in tokens_of.items():
        if len(tokens) < room:
            raise InputError(
                f"the text of {name} has {len(tokens)} tokens, and a sequence takes {room}.",
                "Give a longer --text, or a shorter --prompt-len.",
            )
        pieces.append([tokens[at : at + room] for at in range(0, len(tokens) - room + 1, room)])
    turns = [of_text[turn % len(of_text)] for turn in range(count) for of_text in pieces][:count]
    rows = torch.tensor([[*before, *piece, *behind] for piece in turns])
    rates = {name: len(text.encode()) / len(tokens_of[name]) for name, text in texts.items()}
    return rows, description, rates


def count_pass(source: PassSource, length: int) -> float:
    """FLOPs of the products of one pass of one input, as its module does them.

    On the meta device; with random weights where a module looks into its values. Raises
    UnsupportedError where a batch alone does not make it run.
    """
    from topout.cost.graph import count

    config, size = source.config, source.config.image_size
    x = torch.ones(1, length, dtype=torch.int64)
    if config.takes == "images":
        x = made_images(1, config.channels, size, 0)
    on_meta = count(OnePass(build_on_meta(source.config_json, source.name)), x.to("meta"))
    if on_meta.complete:
        return float(on_meta.total.flops)
    random = dataclasses.replace(source, origin="random", tensors={})
    found = count(load_pass(random, dtype=torch.float32), x)
    if found.failure is not None:
        raise UnsupportedError(
            f"{source.name}: a batch alone does not make {config.class_name} run "
            f"({found.failure.message}).",
            "Choose another model.",
        )
    return float(found.total.flops)


def special_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """What a model was trained to see before and behind the tokens of a sequence."""
    text = "text"
    whole, inner = tokenizer.encode_sequence(text, 1 << 16), tokenizer.encode(text)
    for start in range(len(whole) - len(inner) + 1):
        if whole[start : start + len(inner)] == inner:
            return whole[:start], whole[start + len(inner) :]
    return [], []


def made_images(count: int, channels: int, size: int, seed: int) -> Tensor:
    """[count, channels, size, size], of mean 0 and deviation 1 each: random at several scales."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(count, channels, size, size)
    for level in range(_LEVELS):
        points = min(size, _COARSEST << level)
        grid = torch.randn(count, channels, points, points, generator=generator)
        smooth = functional.interpolate(grid, size=(size, size), mode="bicubic")
        image += smooth / 2**level
    flat = image.flatten(1)
    normal = (flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True).clamp(min=1e-6)
    return normal.view_as(image)
