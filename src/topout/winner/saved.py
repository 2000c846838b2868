"""A stack saved with its weights as it holds them, and loaded without the original.

A folder holds `config.json`, the tokenizer, `model.safetensors` under the names of transformers,
and `topout.json`, which names the stack. Where the stack quantizes, the linear layers' weights are
in a checkpoint of their own (`topout.quantization.rounding`), and only there.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import save_file
from torch import Tensor

from topout.errors import (
    InputError,
    OutputError,
    RecordError,
    UnsupportedError,
    WeightsError,
    writing,
)
from topout.generation.build import Build
from topout.ladder.stack import Stack
from topout.models.checkpoint import (
    StoredTensor,
    check_tensors,
    decoder_recipes,
    expected_tensors,
    read_header,
    refuse_names,
    stored_dtype,
)
from topout.models.config import ModelConfig, read_config_json
from topout.models.decoder import Decoder
from topout.models.end_tokens import end_tokens
from topout.models.load import decoder_reader, load_decoder
from topout.models.source import IN_MEMORY, ModelSource, resolve_model, tokenizer_path
from topout.models.text import Tokenizer, TrainedTokenizer
from topout.quantization.rounding import (
    Scheme,
    checkpoint_path,
    linear_layers,
    load_or_quantize,
)
from topout.records import read, write
from topout.records.record import SCHEMA_VERSION, Dtype, Record, stamp
from topout.rungs.registry import own_rungs
from topout.tensor_file import writing_tensors
from topout.whole_file import whole_folder

SAVED_FILE = "topout.json"
_WEIGHTS_FILE = "model.safetensors"
_DRAFT_FOLDER = "draft"
_TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("vocab.json", "merges.txt", "vocab.txt"),
)
_FINGERPRINT = re.compile(f"[0-9a-f]{{64}}|{IN_MEMORY}")  # a part of a file's name
_NARROW = {"F16": torch.float16, "BF16": torch.bfloat16}  # what holds all that fp32 would of them


class SavedModel(Record, frozen=True, kw_only=True, tag_field="kind", tag="saved-model"):
    """What `topout.json` says: which stack the weights beside it are of."""

    schema_version: int = SCHEMA_VERSION
    topout_version: str
    created_at: str
    model: str  # its name
    fingerprint: str  # of the original's config and weights
    stack: str  # rungs joined by " + "
    dtype: Dtype  # of the baseline, where no rung changes it
    quantized: str | None = None  # the scheme of the linear layers' weights
    has_draft: bool = False


# --- saving -------------------------------------------------------------------------------------


def save_stack(
    stack: Stack, build: Build, folder: Path, tokenizer: Tokenizer | None = None
) -> Path:
    """Write a stack and its weights to a new folder, whole or not at all; returns it.

    `tokenizer` is written where the model has no file of one. Raises InputError where the folder
    has something in it, UnsupportedError for random weights and for rungs of the user's own,
    WeightsError where the original cannot be read any more, OutputError where the folder cannot be
    written.
    """
    own = own_rungs(stack.names)
    if own:
        raise UnsupportedError(
            f"{own[0]} is a rung of your own, and what it does to weights is not known.",
            "Save a stack without it.",
        )
    if build.decoder.origin == "random":
        raise UnsupportedError(
            f"{build.decoder.name} has random weights: there is nothing to save.",
            "They are made again from their seed.",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} has something in it.", "Name a new folder.")
    with writing(folder, "model"), whole_folder(folder) as unfinished:
        _write(stack, build, unfinished)
        if build.decoder.tokenizer_path is None and isinstance(tokenizer, TrainedTokenizer):
            tokenizer.save(unfinished / "tokenizer.json")
    return folder


def _write(stack: Stack, build: Build, folder: Path) -> None:
    source, linear = build.decoder, _stored_linear_weights(stack)
    scheme = linear if isinstance(linear, Scheme) else None
    _write_model(source, build.dtype, linear, folder)
    if scheme is not None:
        _write_quantized(build, scheme, folder)
    if build.draft is not None:
        (folder / _DRAFT_FOLDER).mkdir()
        _write_model(build.draft, build.dtype, None, folder / _DRAFT_FOLDER)
    saved = SavedModel(
        **stamp(),
        model=source.name,
        fingerprint=source.fingerprint,
        stack=stack.label,
        dtype=build.workload.dtype,
        quantized=scheme.name if scheme is not None else None,
        has_draft=build.draft is not None,
    )
    write(saved, folder / SAVED_FILE)


def _stored_linear_weights(stack: Stack) -> Scheme | torch.dtype | None:
    """In what a stack's linear layers are saved: one rung decides it, since they exclude others."""
    kept = [each for rung in stack.rungs if (each := rung.stored_linear_weights()) is not None]
    return kept[-1] if kept else None


def scheme_name(stack: Stack) -> str | None:
    """How a stack quantizes the linear layers' weights; None where it does not."""
    linear = _stored_linear_weights(stack)
    return linear.name if isinstance(linear, Scheme) else None


def _write_model(
    source: ModelSource, dtype: torch.dtype, linear: Scheme | torch.dtype | None, folder: Path
) -> None:
    """Config, tokenizer and weights; without those of linear layers where they are quantized."""
    tensors = dict(_tensors(source, dtype, linear))
    with writing_tensors(folder / _WEIGHTS_FILE):
        save_file(tensors, folder / _WEIGHTS_FILE, {"format": "pt"})
    fields: dict[str, Any] = {**source.config_json}
    ends = sorted(end_tokens(source))
    if ends:
        fields["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    text = msgspec.json.format(msgspec.json.encode(fields), indent=1) + b"\n"
    (folder / "config.json").write_bytes(text)
    if source.tokenizer_path is not None:
        for name in _TOKENIZER_FILES:
            file = source.tokenizer_path.parent / name
            if file.is_file():
                shutil.copyfile(file, folder / name)


def _tensors(
    source: ModelSource, dtype: torch.dtype, linear: Scheme | torch.dtype | None
) -> Iterator[tuple[str, Tensor]]:
    """The tensors under their stored names, each as the stack holds it or in what is exact."""
    of_linear = _linear_tensors(source.config)
    for name, stored in source.tensors.items():
        if name in of_linear and isinstance(linear, Scheme):
            continue
        kept = linear if name in of_linear and isinstance(linear, torch.dtype) else dtype
        if kept == torch.float32:
            kept = _NARROW.get(stored.dtype, kept)
        yield name, decoder_reader(source, kept)(name).cpu().contiguous()


def _linear_tensors(config: ModelConfig) -> set[str]:
    """Stored names of what only linear layers' weights are made of; a tied head has none."""
    with torch.device("meta"):
        decoder = Decoder(config)
    recipes = decoder_recipes(config)
    names = [f"{name}.weight" for name, _ in linear_layers(decoder)]
    return {source for name in names if name in recipes for source in recipes[name].sources}


def _write_quantized(build: Build, scheme: Scheme, folder: Path) -> None:
    """The checkpoint that the rung was built from; made once more where it was not kept."""
    fingerprint = build.decoder.fingerprint
    kept = checkpoint_path(build.quantized_folder, fingerprint, scheme)
    if kept.is_file():
        shutil.copyfile(kept, checkpoint_path(folder, fingerprint, scheme))
        return
    load_or_quantize(load_decoder(build.decoder, dtype=build.dtype), folder, fingerprint, scheme)
    if not checkpoint_path(folder, fingerprint, scheme).is_file():
        raise OutputError(f"cannot write the quantized weights to {folder}.", "Free some space.")


# --- loading ------------------------------------------------------------------------------------


def read_saved(folder: Path) -> tuple[SavedModel, ModelSource, ModelSource | None]:
    """What a saved folder says, its model, and its draft where it has one.

    Raises RecordError for a damaged topout.json, WeightsError for weights that are missing,
    damaged or of another model.
    """
    saved = read(folder / SAVED_FILE, SavedModel)
    if saved.quantized is not None:
        source = _quantized_source(folder, saved)
    else:  # an ordinary folder, whose weights have a fingerprint of their own
        source = replace(resolve_model(str(folder.absolute())), name=saved.model)
    draft = resolve_model(str((folder / _DRAFT_FOLDER).absolute())) if saved.has_draft else None
    return saved, source, draft


def _quantized_source(folder: Path, saved: SavedModel) -> ModelSource:
    """The model without the weights of its linear layers."""
    if not _FINGERPRINT.fullmatch(saved.fingerprint):
        raise RecordError(f"{folder / SAVED_FILE}: no fingerprint.", "Save the model again.")
    config_json = read_config_json(folder)
    config = ModelConfig.from_hugging_face(config_json, saved.model)
    tensors: dict[str, StoredTensor] = read_header(folder / _WEIGHTS_FILE)
    absent = _linear_tensors(config)
    expected = {
        name: shape for name, shape in expected_tensors(config).items() if name not in absent
    }
    refuse_names(folder, expected.keys() - tensors.keys(), tensors.keys() - expected.keys())
    check_tensors(tensors, expected)
    dtype = stored_dtype(tensors)
    if dtype is None:
        raise WeightsError(f"{folder / _WEIGHTS_FILE} holds no weights.", "Save it again.")
    return ModelSource(
        name=saved.model,
        folder=folder,
        config=config,
        config_json=config_json,
        origin="trained",
        tensors=tensors,
        weights_dtype=dtype,
        tokenizer_path=tokenizer_path(folder),
        seed=0,
        fingerprint=saved.fingerprint,
    )
