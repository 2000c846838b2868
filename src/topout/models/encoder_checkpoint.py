"""The safetensors checkpoint of an encoder: the bare model, or one of its heads with it."""

from collections.abc import Mapping
from pathlib import Path

from topout.errors import WeightsError
from topout.models.checkpoint import FLOAT_BYTES, StoredTensor, read_header
from topout.models.encoder_config import EncoderConfig
from topout.models.encoder_tensors import Part, canonical_name, is_second_name, part_shapes
from topout.models.tensors import Shape

_REMEDY = "Give the checkpoint that belongs to this config.json."


def read_encoder_tensors(files: list[Path], config: EncoderConfig) -> dict[str, StoredTensor]:
    """Canonical name → stored tensor: the whole encoder, and the heads that are there.

    A pooler, a masked-language head and a classifier may be absent; heads of other tasks are left
    out. Raises WeightsError that names the file or the tensor which is truncated, missing,
    unexpected, stored twice, of another shape or of a type that is not a float.
    """
    tensors: dict[str, StoredTensor] = {}
    for tensor in _with_second_names_last(files, config):
        name = canonical_name(tensor.name, config)
        if name is None:
            continue
        if name in tensors and is_second_name(tensor.name, config):
            continue
        if name in tensors:
            raise WeightsError(
                f"{tensor.file} and {tensors[name].file} both hold the tensor {name}.",
                "Keep one of them.",
            )
        tensors[name] = tensor
    shapes = part_shapes(config, "encoder", 1)
    optional: dict[str, Shape] = {}
    parts: list[Part] = ["pooler", "masked_head"]
    if config.stores_classifier:
        parts.append("classifier")
    for part in parts:
        optional |= _stored_part(part, tensors, config)
    _check_names(tensors, shapes, optional, files[0].parent)
    used = {name: tensor for name, tensor in tensors.items() if name in shapes | optional}
    _check_shapes(used, shapes | optional)
    return used


def stored_labels(tensors: Mapping[str, StoredTensor], config: EncoderConfig) -> int | None:
    """The classes of the classifier that a checkpoint holds; None without one."""
    # Its output layer comes last.
    *_, last = part_shapes(config, "classifier", 1)
    return tensors[last].shape[0] if last in tensors and tensors[last].shape else None


def holds_part(tensors: Mapping[str, StoredTensor], config: EncoderConfig, part: Part) -> bool:
    """Whether a checkpoint holds a part, at all."""
    return any(name in tensors for name in part_shapes(config, part, 1))


def _with_second_names_last(files: list[Path], config: EncoderConfig) -> list[StoredTensor]:
    stored = [tensor for file in files for tensor in read_header(file).values()]
    return sorted(stored, key=lambda tensor: is_second_name(tensor.name, config))


def _stored_part(
    part: Part, tensors: Mapping[str, StoredTensor], config: EncoderConfig
) -> dict[str, Shape]:
    """The shapes of a part that is there; empty for one that is not."""
    labels = stored_labels(tensors, config) or 1
    return part_shapes(config, part, labels) if holds_part(tensors, config, part) else {}


def _check_names(
    tensors: Mapping[str, StoredTensor],
    shapes: Mapping[str, Shape],
    optional: Mapping[str, Shape],
    folder: Path,
) -> None:
    expected = {**shapes, **optional}
    missing = sorted(expected.keys() - tensors.keys())
    # A stored layer more than config.json has; a classifier of another task is no fault.
    stem = next(iter(shapes)).partition(".")[0]
    besides = sorted(
        name for name in tensors.keys() - expected.keys() if name.startswith(f"{stem}.")
    )
    for what, names in (("misses", missing), ("has besides", besides)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise WeightsError(f"{folder} {what} the tensor {names[0]}{more}.", _REMEDY)


def _check_shapes(tensors: Mapping[str, StoredTensor], shapes: Mapping[str, Shape]) -> None:
    for name, tensor in tensors.items():
        if tensor.shape != shapes[name]:
            raise WeightsError(
                f"{tensor.file}: {tensor.name} has shape {list(tensor.shape)}, and config.json "
                f"asks for {list(shapes[name])}.",
                _REMEDY,
            )
        if tensor.dtype not in FLOAT_BYTES:
            raise WeightsError(
                f"{tensor.file}: {tensor.name} is stored as {tensor.dtype}.",
                f"Give a checkpoint in {', '.join(FLOAT_BYTES)}.",
            )
