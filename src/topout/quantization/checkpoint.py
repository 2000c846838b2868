"""Quantized weights as a safetensors file: made once, loaded by every later session."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from topout.kernels.linear_packing import Int4Weight, Int8Weight
from topout.quantization.rounding import Scheme, linear_layers

QuantizedWeights = dict[str, Int8Weight | Int4Weight]  # by the name of the layer
_FIELDS = {"values": "weight"}  # how a field is called in the file


def load_or_quantize(
    model: nn.Module, folder: Path, fingerprint: str, scheme: Scheme
) -> QuantizedWeights:
    """The checkpoint of these weights from `folder`, made and saved there if need be."""
    path = folder / f"{fingerprint}-{scheme.name}.safetensors"
    weights = _load(path, model, fingerprint, scheme)
    if weights is None:
        weights = quantize_model(model, scheme)
        _save(weights, path, fingerprint, scheme)
    return weights


def quantize_model(model: nn.Module, scheme: Scheme) -> QuantizedWeights:
    """The quantized weight of every linear layer, on the CPU."""
    return {
        name: _moved(scheme.quantize(name, linear.weight.detach()))
        for name, linear in linear_layers(model)
    }


def _moved(weight: Int8Weight | Int4Weight) -> Int8Weight | Int4Weight:
    return type(weight)(*(part.cpu() for part in weight))


def _tensors(weights: QuantizedWeights) -> dict[str, Tensor]:
    return {
        f"{name}.{_FIELDS.get(field, field)}": tensor.contiguous()
        for name, weight in weights.items()
        for field, tensor in weight._asdict().items()
    }


def _load(
    path: Path, model: nn.Module, fingerprint: str, scheme: Scheme
) -> QuantizedWeights | None:
    """The weights of a saved checkpoint; None where it is missing, damaged or of other weights."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != scheme.format:
                return None
            if metadata.get("fingerprint") != fingerprint:
                return None
            # Copies in memory of their own: a mapped file is paged in while it is timed, and its
            # tensors are not aligned as the int8 kernel needs them.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    weights: QuantizedWeights = {}
    for name, linear in linear_layers(model):
        expected = _shape_of(scheme, name, linear)
        found = _weight_of(name, tensors, type(expected))
        if found is None or _described(found) != _described(expected):
            return None
        weights[name] = found
    return weights


def _shape_of(scheme: Scheme, name: str, linear: nn.Linear) -> Int8Weight | Int4Weight:
    """Types and shapes of a layer's quantized weight, without its values."""
    return scheme.quantize(name, torch.empty(linear.weight.shape, device="meta"))


def _weight_of(
    name: str, tensors: Mapping[str, Tensor], kind: type[Int8Weight] | type[Int4Weight]
) -> Int8Weight | Int4Weight | None:
    parts = [tensors.get(f"{name}.{_FIELDS.get(field, field)}") for field in kind._fields]
    return None if any(part is None for part in parts) else kind(*parts)  # type: ignore[arg-type]


def _described(weight: Int8Weight | Int4Weight) -> list[tuple[torch.Size, torch.dtype]]:
    return [(part.shape, part.dtype) for part in weight]


def _save(weights: QuantizedWeights, path: Path, fingerprint: str, scheme: Scheme) -> None:
    """Save through a temporary file; a folder that cannot be written costs only the saving."""
    metadata = {"format": scheme.format, "fingerprint": fingerprint}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{scheme.name}-", dir=path.parent)
        os.close(handle)
        try:
            save_file(_tensors(weights), temporary, metadata)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        print(f"the {scheme.name} checkpoint was not saved: {error}")  # noqa: T201 - worker's log
