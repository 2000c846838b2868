"""Safetensors checkpoints of decoders: their files and tensors, and what we make of them.

Only headers are read here, by the safetensors library and without torch, so that a fault is found
before any weight is loaded. Tensors go by the names of transformers' causal-LM models.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from topout.errors import WeightsError
from topout.input_file import MOST_CONFIG_BYTES, is_there, open_input, parse_json, read_input
from topout.models.config import ModelConfig

Shape = tuple[int, ...]

_STORED = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F64": "fp64"}
FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_OTHER_CHECKPOINT = "Give the checkpoint that belongs to this config.json."
_HASHED_WHOLE_BYTES = 64 << 20  # files up to here are hashed in full
MOST_HEADER_BYTES = 32 << 20
MOST_DIMENSIONS = 8
MOST_ROWS = 1 << 63
_SAMPLE_BYTES, _SAMPLES = 64 << 10, 256


@dataclass(frozen=True)
class Recipe:
    """How a parameter of ours is made: of these stored tensors, joined along dimension 0."""

    sources: dict[str, Shape]
    transposed: bool = False  # GPT-2 stores its matrices as [in, out]


def decoder_recipes(config: ModelConfig) -> dict[str, Recipe]:
    """Name of each parameter of `Decoder` → how it is made; a tied head comes from no recipe.

    Stored names are those of transformers' causal-LM model of the architecture.
    """
    recipes = dict(_gpt2(config) if config.architecture == "gpt2" else _llama(config))
    if not config.tied_head:
        recipes["head.weight"] = Recipe({"lm_head.weight": (config.vocab_size, config.width)})
    return recipes


def expected_tensors(config: ModelConfig) -> dict[str, Shape]:
    """Name → shape of every tensor that a checkpoint of this config holds.

    A tied head is no tensor of its own.
    """
    return stored_shapes(decoder_recipes(config))


def stored_shapes(recipes: Mapping[str, Recipe]) -> dict[str, Shape]:
    """Name → shape of all that the recipes take."""
    return {name: shape for each in recipes.values() for name, shape in each.sources.items()}


def name_prefix(config: ModelConfig) -> str:
    """What every name but the head's begins with; checkpoints of the bare model leave it out."""
    return "transformer." if config.architecture == "gpt2" else "model."


def is_ignored(name: str, config: ModelConfig) -> bool:
    """Whether a stored tensor is a buffer of old versions or a copy of the tied embedding."""
    if name == "lm_head.weight":
        return config.tied_head
    return name.endswith((".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"))


def _gpt2(config: ModelConfig) -> Iterator[tuple[str, Recipe]]:
    width, mlp_width = config.width, config.mlp_width
    yield "token_embedding.weight", Recipe({"transformer.wte.weight": (config.vocab_size, width)})
    yield (
        "position_embedding.weight",
        Recipe({"transformer.wpe.weight": (config.context_len, width)}),
    )
    modules: dict[str, tuple[str, Shape]] = {
        "attention_norm": ("ln_1", (width,)),
        "attention.qkv": ("attn.c_attn", (width, 3 * width)),
        "attention.output": ("attn.c_proj", (width, width)),
        "mlp_norm": ("ln_2", (width,)),
        "mlp.up": ("mlp.c_fc", (width, mlp_width)),
        "mlp.down": ("mlp.c_proj", (mlp_width, width)),
    }
    for layer in range(config.layers):
        for ours, (theirs, shape) in modules.items():
            name, source = f"blocks.{layer}.{ours}", f"transformer.h.{layer}.{theirs}"
            yield f"{name}.weight", Recipe({f"{source}.weight": shape}, transposed=len(shape) > 1)
            yield f"{name}.bias", Recipe({f"{source}.bias": shape[-1:]})
    for kind in ("weight", "bias"):
        yield f"norm.{kind}", Recipe({f"transformer.ln_f.{kind}": (width,)})


def _llama(config: ModelConfig) -> Iterator[tuple[str, Recipe]]:
    width, mlp_width = config.width, config.mlp_width
    yield (
        "token_embedding.weight",
        Recipe({"model.embed_tokens.weight": (config.vocab_size, width)}),
    )
    norms = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    head_norms = {"attention.query_norm": "q_norm", "attention.key_norm": "k_norm"}
    query, key = (config.query_width, width), (config.kv_width, width)
    # What each is joined of, and whether that has biases.
    linears: dict[str, tuple[dict[str, Shape], bool]] = {
        "attention.qkv": (
            {"self_attn.q_proj": query, "self_attn.k_proj": key, "self_attn.v_proj": key},
            config.qkv_bias,
        ),
        "attention.output": ({"self_attn.o_proj": query[::-1]}, config.attention_bias),
        "mlp.gate_up": (
            {"mlp.gate_proj": (mlp_width, width), "mlp.up_proj": (mlp_width, width)},
            config.mlp_bias,
        ),
        "mlp.down": ({"mlp.down_proj": (width, mlp_width)}, config.mlp_bias),
    }
    for layer in range(config.layers):
        ours, theirs = f"blocks.{layer}.", f"model.layers.{layer}."
        for name, source in norms.items():
            yield f"{ours}{name}.weight", Recipe({f"{theirs}{source}.weight": (width,)})
        for name, (parts, has_bias) in linears.items():
            for kind in ("weight", "bias") if has_bias else ("weight",):
                sources = {
                    f"{theirs}{part}.{kind}": shape if kind == "weight" else shape[:1]
                    for part, shape in parts.items()
                }
                yield f"{ours}{name}.{kind}", Recipe(sources)
        for name, source in head_norms.items() if config.qk_norm else ():
            shape = (config.head_size,)
            yield f"{ours}{name}.weight", Recipe({f"{theirs}self_attn.{source}.weight": shape})
    yield "norm.weight", Recipe({"model.norm.weight": (width,)})


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies and what it is, by its file's header."""

    name: str  # as in the file
    file: Path
    dtype: str  # safetensors' code: "F32", "BF16", …
    shape: Shape


def find_weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder: the single one, or every shard of its index.

    Raises WeightsError when there are none, when there is only a pickle, or a shard is missing.
    """
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return _shards(index)
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return found
    if found:
        raise WeightsError(
            f"{folder} has {len(found)} safetensors files and no model.safetensors.index.json.",
            "Give the path of one file, or download the index.",
        )
    for path in sorted(folder.iterdir()):
        refuse_pickle(path)
    raise WeightsError(
        f"{folder} has no *.safetensors.", "Download the weights, or take --random-weights."
    )


def refuse_pickle(path: Path) -> None:
    """Raise WeightsError when `path` is of a format that can run code on loading."""
    if path.suffix in PICKLE_SUFFIXES:
        raise WeightsError(
            f"{path} is a pickle, and reading a pickle can run code.",
            "Where you trust it, convert it with its class of transformers: "
            "CLASS.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER) writes safetensors.",
        )


def read_tensors(files: list[Path], config: ModelConfig) -> dict[str, StoredTensor]:
    """Canonical name → stored tensor, complete and of the shapes that `config` asks for.

    Raises WeightsError that names the file or the tensor which is truncated, missing,
    unexpected, of another shape or of a type that is not a float.
    """
    stored = [tensor for file in files for tensor in read_header(file).values()]
    prefix = name_prefix(config)
    is_bare = not any(tensor.name.startswith(prefix) for tensor in stored)
    tensors: dict[str, StoredTensor] = {}
    for tensor in stored:
        is_head = tensor.name == "lm_head.weight"
        name = prefix + tensor.name if is_bare and not is_head else tensor.name
        if is_ignored(name, config):
            continue
        if name in tensors:
            raise WeightsError(
                f"{tensor.file} and {tensors[name].file} both hold the tensor {tensor.name}.",
                "Keep one of them.",
            )
        tensors[name] = tensor
    expected = expected_tensors(config)
    refuse_names(
        files[0].parent, expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    )
    check_tensors(tensors, expected)
    return tensors


def read_header(file: Path) -> dict[str, StoredTensor]:
    """Name → tensor of one safetensors file; raises WeightsError when it is not whole."""
    from safetensors import SafetensorError, safe_open

    refuse_pickle(file)
    try:
        _check_header(file)
        with safe_open(str(file), framework="numpy") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            return {
                name: StoredTensor(name, file, part.get_dtype(), tuple(part.get_shape()))
                for name, part in slices.items()
            }
    except OSError as error:
        reason = error.strerror or str(error)
        raise WeightsError(f"cannot read {file}: {reason}.", "Check the path.") from None
    except (SafetensorError, ValueError) as error:
        fault = str(error).removeprefix("Error while deserializing header: ")
        raise WeightsError(
            f"{file} is not a whole safetensors file: {fault}.", "Download or write it again."
        ) from None


def _check_header(file: Path) -> None:
    """Raise OSError or ValueError for what the library lets pass, before anything is mapped.

    It checks itself that offsets follow each other without holes up to the end of the file, and
    that each tensor's shape and type give its bytes.
    """
    with open_input(file, again=True) as stream:
        header_bytes = int.from_bytes(stream.read(8), "little")
        if header_bytes > MOST_HEADER_BYTES:
            raise ValueError(f"a header of {header_bytes} bytes, and it may have 32 MiB")
        header = parse_json(stream.read(header_bytes))
    for name, tensor in header.items() if isinstance(header, dict) else ():
        shape = tensor.get("shape", []) if isinstance(tensor, dict) else []
        sizes = shape if isinstance(shape, list) else []
        if len(sizes) > MOST_DIMENSIONS:
            raise ValueError(f"tensor {name[:80]!r} has {len(sizes)} dimensions, of at most 8")
        if any(isinstance(size, int) and size >= MOST_ROWS for size in sizes):
            raise ValueError(f"tensor {name[:80]!r} has a dimension of 2⁶³ or more")


def stored_dtype(tensors: Mapping[str, StoredTensor]) -> str | None:
    """What most of the weights are stored in: "fp32", "fp16", "bf16", "fp64"; None without any."""
    elements = dict.fromkeys(_STORED, 0)
    for tensor in tensors.values():
        if tensor.dtype in elements:  # quantized checkpoints hold integers too
            elements[tensor.dtype] += math.prod(tensor.shape)
    most = max(elements, key=lambda dtype: elements[dtype])
    return _STORED[most] if elements[most] else None


def digest_file(file: Path) -> bytes:
    """SHA-256 of a file's size and bytes; beyond 64 MiB of its header and 256 spread samples."""
    size_bytes = file.stat().st_size
    digest = hashlib.sha256(size_bytes.to_bytes(8, "little"))
    with file.open("rb") as stream:
        if size_bytes <= _HASHED_WHOLE_BYTES:
            digest.update(stream.read())
        else:
            header_bytes = int.from_bytes(stream.read(8), "little")
            digest.update(stream.read(header_bytes))
            step = (size_bytes - _SAMPLE_BYTES) // (_SAMPLES - 1)
            for sample in range(_SAMPLES):
                stream.seek(sample * step)
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.digest()


def _shards(index: Path) -> list[Path]:
    try:
        weight_map = parse_json(read_input(index, MOST_CONFIG_BYTES))["weight_map"]
        names = sorted(set(weight_map.values()))
        are_plain = all(isinstance(name, str) and Path(name).name == name for name in names)
    except OSError as error:
        raise WeightsError(f"cannot read {index}: {error.strerror}.", "Check the path.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise WeightsError(f"{index} is not a safetensors index.", "Download it again.") from None
    if not names or not are_plain:
        raise WeightsError(f"{index} does not name files of its own folder.", "Download it again.")
    files = [index.parent / name for name in names]
    for file in files:
        refuse_pickle(file)
        if not is_there(file):
            raise WeightsError(
                f"{file} is missing: {index.name} names {len(files)} shards.", "Download it."
            )
    return files


def refuse_names(folder: Path, missing: Set[str], besides: Set[str]) -> None:
    """Raise WeightsError where tensors that a config asks for are missing, or others are there."""
    for what, names in (("misses", sorted(missing)), ("has besides", sorted(besides))):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise WeightsError(f"{folder} {what} the tensor {names[0]}{more}.", _OTHER_CHECKPOINT)


def check_tensors(tensors: Mapping[str, StoredTensor], shapes: Mapping[str, Shape]) -> None:
    """Raise WeightsError unless all tensors have the shapes asked for, in a float data type."""
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tensor.shape != shape:
            raise WeightsError(
                f"{tensor.file}: {tensor.name} has shape {list(tensor.shape)}, and config.json "
                f"asks for {list(shape)}.",
                _OTHER_CHECKPOINT,
            )
        if tensor.dtype not in FLOAT_DTYPES:
            raise WeightsError(
                f"{tensor.file}: {tensor.name} is stored as {tensor.dtype}.",
                f"Give a checkpoint in {', '.join(FLOAT_DTYPES)}.",
            )
