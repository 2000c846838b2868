"""The precision that a checkpoint was published in, and the one that a verb takes by default.

The rule of all verbs: what `--dtype` says, else what the checkpoint was published in, which is what
transformers 5 loads (`dtype="auto"`), else, where that is not run, what stands in for it, and why.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from topout.errors import InputError
from topout.models.fields import Fields
from topout.records import Machine

DTYPES = ("fp32", "bf16", "fp16")  # that models are run or counted in
_NAMES = {
    "float32": "fp32",
    "float": "fp32",
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "float64": "fp64",
    "double": "fp64",
}
_BF16_UNITS = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}  # of CPUs, by their feature flags
_FIRST_BF16_CAPABILITY = 8  # of NVIDIA's GPUs: Ampere
_KEYS = ("dtype", "torch_dtype")  # of transformers 5 and 4; where both are, the first counts
_PLACES = {
    "": _KEYS,
    "text_config": _KEYS,
    "quantization_config": ("bnb_4bit_compute_dtype", "compute_dtype"),
}
NOT_STATED = "its precision is stated nowhere"


class Precision(NamedTuple):
    """A data type of weights and activations, and why it is that one."""

    dtype: str
    origin: str


class StandIn(NamedTuple):
    """What is taken in the place of a data type, and why that one is not."""

    dtype: str
    reason: str


def stated_dtype(config_json: Mapping[str, Any], name: str) -> str | None:
    """The precision that a `config.json` states: "fp32", "bf16", "fp16"; another as it stands.

    Looked at in this order: the config itself, the text model of a composite, the type that a
    quantized checkpoint computes in. None where it is stated nowhere. Raises InputError where the
    field is no string.
    """
    fields = Fields(dict(config_json), name)
    for place, keys in _PLACES.items():
        part = fields.nested(place) if place else fields
        stated = next((part.text(key) for key in keys if part.has(key)), None)
        if stated is not None:
            return dtype_name(stated)
    return None


def dtype_name(stated: str) -> str:
    """ "float32" or "torch.float32" → "fp32"; another as it stands."""
    return _NAMES.get(stated.removeprefix("torch."), stated)


def precision_of(
    name: str,
    published: str | None,
    asked: str | None = None,
    stand_ins: Mapping[str, StandIn] | None = None,
) -> Precision:
    """The precision to run or count a model in: what was asked for, or what it was published in.

    `stand_ins` are those for what is not run, by data type. Raises InputError for a published
    precision that is none of DTYPES, unless another was asked for.
    """
    if asked is not None:
        more = f"; published in {published}" if published not in (asked, None) else ""
        return Precision(asked, f"as asked{more}")
    if published is None:
        return Precision("fp32", NOT_STATED)
    if published not in DTYPES:
        raise InputError(
            f"{name} is published in {published!r}, and models are run and counted in "
            f"{', '.join(DTYPES)}.",
            "Choose one with --dtype, or correct `torch_dtype` in config.json.",
        )
    stand_in = (stand_ins or {}).get(published)
    if stand_in is not None:
        return Precision(stand_in.dtype, f"published in {published}, {stand_in.reason}")
    return Precision(published, "as published")


def stand_ins(machine: Machine, device: str) -> dict[str, StandIn]:
    """What models run in on a device of this machine, where not in what they were published in.

    fp16 holds nothing that fp32 does not; on a GPU bf16 has its size and its speed.
    """
    found = {"fp16": StandIn("fp32", "which is not run on CPUs")}
    has_bf16 = not _BF16_UNITS.isdisjoint(machine.vector_isa)
    if device == "cuda":
        capability = machine.gpus[0].compute_capability if machine.gpus else None
        has_bf16 = capability is None or int(capability.split(".")[0]) >= _FIRST_BF16_CAPABILITY
        in_place = "bf16" if has_bf16 else "fp32"
        found = {"fp16": StandIn(in_place, "which is not run here")}
    if not has_bf16:
        unit = "GPU" if device == "cuda" else "CPU"
        found["bf16"] = StandIn("fp32", f"for which this {unit} has no unit")
    return found
