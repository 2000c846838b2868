"""A model that runs in one pass: where it lies, and the module of transformers with its weights.

Importing this imports no torch; what builds a module does.
"""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from topout.errors import InputError, UnsupportedError, WeightsError
from topout.models.architecture import Architecture, total_parameters
from topout.models.architectures.read import read_architecture
from topout.models.checkpoint import StoredTensor, read_header
from topout.models.hub import offline
from topout.models.known import known_pass_names
from topout.models.pass_config import PassConfig
from topout.models.pass_reading import read_pass_config
from topout.models.source import Kind, PassSource, resolve

if TYPE_CHECKING:
    import torch

    from topout.models.one_pass import OnePass


def resolve_pass(
    name_or_path: str, *, random_weights: bool = False, seed: int = 0, image_size: int | None = None
) -> PassSource:
    """What a name or path stands for as an encoder or image classifier.

    `image_size` in pixels stands in for the config's. Raises as `resolve_model` does, InputError
    for the size of an image where there is none.
    """

    def read_config(config_json: dict[str, Any], name: str) -> PassConfig:
        config = read_pass_config(config_json, name)
        if image_size is not None:
            if config.takes != "images":
                raise InputError(
                    f"{name} takes no images.", "Leave --image-size out for this model."
                )
            config = msgspec.structs.replace(config, image_size=image_size)
        return msgspec.structs.replace(config, shape=_shape(config_json, config))

    kind = Kind(read_config, _read_tensors, _nameless, known_pass_names())
    return resolve(kind, name_or_path, random_weights, seed)


def _shape(config_json: dict[str, Any], config: PassConfig) -> Architecture | None:
    """What topout counts by formulas, where that is the module which is run."""
    size = config.image_size or None
    try:
        shape = read_architecture(config_json, config.name, image_size=size)
    except (InputError, UnsupportedError):
        return None
    return shape if total_parameters(shape) == config.parameters else None


def _read_tensors(files: list[Path], config: PassConfig) -> dict[str, StoredTensor]:
    """All tensors of the files by their own names; whether they fit, transformers says."""
    return {name: stored for file in files for name, stored in read_header(file).items()}


def _nameless(config: PassConfig) -> PassConfig:
    return msgspec.structs.replace(config, name="", shape=None)


def load_pass(
    source: PassSource, *, dtype: "torch.dtype", device: "torch.device | str" = "cpu"
) -> "OnePass":
    """The class that the config names with the weights of `source`, in eval mode, SDPA attention.

    Tensors may have any name that transformers knows for them. Raises WeightsError where one is
    missing, of another shape or cannot be read, InputError where transformers refuses the config.
    """
    import torch
    import transformers

    from topout.models.one_pass import OnePass
    from topout.models.structure.build import config_of, quiet_transformers

    factory: Any = getattr(transformers, source.config.class_name)
    with quiet_transformers(), offline():
        config = config_of(source.config_json, source.name)
        if source.origin == "random":
            torch.manual_seed(source.seed)
            model = factory._from_config(config, dtype=dtype)
        else:
            model = _with_weights(factory, config, source, dtype)
    options = {}
    trained = getattr(config, "image_size", source.config.image_size)
    takes = inspect.signature(model.forward).parameters
    if trained != source.config.image_size and "interpolate_pos_encoding" in takes:
        options["interpolate_pos_encoding"] = True  # positions are stretched to another size
    return OnePass(model.requires_grad_(False), **options).to(device).eval()


def _with_weights(factory: Any, config: Any, source: PassSource, dtype: "torch.dtype") -> Any:
    from topout.models.load import file_reader

    read = file_reader(source, dtype)
    tensors = {name: read(name) for name in source.tensors}
    try:
        model, report = factory.from_pretrained(
            None, config=config, state_dict=tensors, dtype=dtype, output_loading_info=True
        )
    except RuntimeError as error:  # of sizes that differ
        raise WeightsError(
            f"{source.name}: its tensors do not fit its config.json ({str(error)[:200]}).",
            "Download it again.",
        ) from None
    missing = sorted(report["missing_keys"])
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise WeightsError(
            f"{source.name} holds no {missing[0]}{more}, which {source.config.class_name} has.",
            "Give a checkpoint of that class, or name another in `architectures` of config.json.",
        )
    return model
