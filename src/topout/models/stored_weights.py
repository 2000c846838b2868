"""How a quantized checkpoint stores its weights, by the `quantization_config` of its config.

Formats are named as `--quantize` names them: "int4-g128" is 4 bits with a scale and a zero point
for every 128 weights. Sources: the quantization configs of transformers 5, and the model cards of
checkpoints of each kind.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from topout.models.fields import Fields

_QUANTIZABLE = ("attention", "cross_attention", "mlp", "head")
# Parts of a model that the names of its modules speak of; the first that is found counts.
_PARTS = (
    ("head", r"lm_head|output_layer|embed_out"),
    ("router", r"router|mlp\.gate(?!_)"),
    ("cross_attention", r"cross_attn|crossattention|EncDecAttention"),
    ("attention", r"attn|attention"),
    ("mlp", r"mlp|experts|feed_forward|ffn|moe"),
)
_LAYER = re.compile(r"\.\d+(?=\.|$)")
_MANY_LAYERS = 8  # of which the same part is listed, from where on it stands for all
_BITS = (2, 3, 4, 8)
_GROUPS = (16, 32, 64, 128, 256)


class StoredWeights(NamedTuple):
    """The format of the weights that are quantized, and the parts of the model that are not."""

    dtype: str | None  # None: of a kind that is not known here
    method: str  # "awq", "gptq", "bitsandbytes", "fp8", "mxfp4", …
    unquantized_parts: tuple[str, ...] = ()  # beside UNQUANTIZED_PARTS
    note: str = ""  # what is not modelled of it


def stored_weights(config_json: Mapping[str, Any], name: str) -> StoredWeights | None:
    """How the checkpoint that a `config.json` describes stores its weights; None: as `dtype`.

    Also of the text model of a composite. Raises InputError for fields of a wrong type.
    """
    fields = Fields(dict(config_json), name)
    for place in (fields, fields.nested("text_config")):
        if place.has("quantization_config"):
            return _stored(place.nested("quantization_config"))
    return None


def _stored(fields: Fields) -> StoredWeights:
    method = fields.text("quant_method", _method_without_name(fields)).lower()
    read = _READERS.get(method)
    whole, note = _left_whole(_not_converted(fields))
    # The head stays as it was in all kinds, unless the config says otherwise.
    if fields.raw.get("lm_head") is not True:
        whole.add("head")
    parts = tuple(part for part in _QUANTIZABLE if part in whole)
    return StoredWeights(read(fields) if read else None, method, parts, note)


def _method_without_name(fields: Fields) -> str:
    """Checkpoints of bitsandbytes before transformers 4.37 name no method."""
    is_bnb = fields.has("load_in_4bit") or fields.has("load_in_8bit")
    return "bitsandbytes" if is_bnb else "a kind without a name"


def _not_converted(fields: Fields) -> list[str]:
    """The modules that stay as they were, by all names that the lists of them have."""
    names: list[str] = []
    for key in (
        "modules_to_not_convert",
        "ignored_layers",
        "ignore",
        "exclude_modules",
        "llm_int8_skip_modules",
    ):
        names += fields.texts(key, [])
    return names


def _part_of(name: str) -> str | None:
    """The part of a model that a module's name speaks of."""
    return next((part for part, pattern in _PARTS if re.search(pattern, name)), None)


def _left_whole(names: list[str]) -> tuple[set[str], str]:
    """The parts that these modules stand for, and what is not modelled, in words.

    A name with the number of a layer is of that layer; where many are named, the part is.
    """
    whole = {part for name in names if not _LAYER.search(name) and (part := _part_of(name))}
    layers: dict[str, set[str]] = {}
    for name in names:
        if (number := _LAYER.search(name)) and (part := _part_of(name)) in _QUANTIZABLE:
            layers.setdefault(part or "", set()).add(number.group())
    whole |= {part for part, numbers in layers.items() if len(numbers) >= _MANY_LAYERS}
    left = {part: len(numbers) for part, numbers in layers.items() if part not in whole}
    told = ", ".join(f"{part} in {count}" for part, count in left.items())
    note = f"Some layers' modules are not quantized, and are counted as if: {told}." if told else ""
    return whole, note


def _integers(fields: Fields, bits: str, group: str) -> str | None:
    """ "int4-g128", of the fields that hold bits and group; a group of -1 is a whole row."""
    width = fields.integer(bits, 4)
    size = fields.integer(group, 128, least=-1)
    return integer_format(width, size)


def integer_format(bits: int, group: int | None) -> str | None:
    """The name of whole numbers of `bits` with a scale a group, or a row; None for an odd size."""
    if bits not in _BITS:
        return None
    if group is None or group <= 0:
        return f"int{bits}"
    return f"int{bits}-g{group}" if group in _GROUPS else None


def _of_awq(fields: Fields) -> str | None:
    old = fields.has("w_bit")
    return _integers(fields, "w_bit" if old else "bits", "q_group_size" if old else "group_size")


def _of_gptq(fields: Fields) -> str | None:
    return _integers(fields, "bits", "group_size")


def _of_bitsandbytes(fields: Fields) -> str | None:
    if fields.raw.get("load_in_8bit") is True or fields.raw.get("_load_in_8bit") is True:
        return "int8"
    return "nf4-double" if fields.flag("bnb_4bit_use_double_quant", False) else "nf4"


def _of_fp8(fields: Fields) -> str | None:
    return "fp8-b128" if fields.has("weight_block_size") else "fp8"


def _of_modelopt(fields: Fields) -> str | None:
    algorithm = fields.text("quant_algo", "").upper()
    return {"NVFP4": "nvfp4", "FP8": "fp8", "W4A16_NVFP4": "nvfp4"}.get(algorithm)


def _of_compressed_tensors(fields: Fields) -> str | None:
    """Those of the first group; groups of one checkpoint differ in modules, rarely in format."""
    groups = fields.nested("config_groups")
    for key in groups.raw:
        weights = groups.nested(key).nested("weights")
        bits, kind = weights.integer("num_bits", 8), weights.text("type", "int")
        group = weights.integer("group_size", least=-1) if weights.has("group_size") else None
        if kind == "float":
            if bits == 4:
                return "nvfp4" if group == 16 else "mxfp4"
            return "fp8-b128" if weights.text("strategy", "") == "block" else "fp8"
        return integer_format(bits, group)
    return None


_READERS: dict[str, Callable[[Fields], str | None]] = {
    "awq": _of_awq,
    "gptq": _of_gptq,
    "bitsandbytes": _of_bitsandbytes,
    "fp8": _of_fp8,
    "fbgemm_fp8": lambda fields: "fp8",
    "mxfp4": lambda fields: "mxfp4",
    "modelopt": _of_modelopt,
    "compressed-tensors": _of_compressed_tensors,
    "eetq": lambda fields: "int8",
    "auto-round": _of_gptq,
}
