"""A `config.json` as transformers may see it: shapes and names of layers, none of code or models.

By some fields transformers chooses the code that runs, kernels of the hub among it, or another
model to start from; others would take the place of an argument.
"""

from typing import Any

_OF_CODE = ("auto_map", "attn_implementation", "experts_implementation", "use_kernels")
_OF_OTHER_MODELS = ("name_or_path", "commit_hash", "use_pretrained_backbone")
_OF_A_CALL = ("self", "cls", "args", "kwargs")
_FLOAT = "__float__"
_FLOATS = ("Infinity", "-Infinity", "NaN")
_LEFT_OUT = (*_OF_CODE, *_OF_OTHER_MODELS, *_OF_A_CALL)


def plain_fields(config_json: dict[str, Any]) -> dict[str, Any]:
    """The fields of a parsed `config.json`, at any depth, without those."""
    return {key: _plain(value) for key, value in config_json.items() if not _is_left_out(key)}


def _is_left_out(key: str) -> bool:
    """By its public name too: what transformers saves of itself begins with an underscore."""
    return key.lstrip("_").removesuffix("_internal") in _LEFT_OUT


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        written = value.get(_FLOAT)  # as transformers writes what JSON has no number for
        if len(value) == 1 and written in _FLOATS:
            return float(written)
        return plain_fields(value)
    return [_plain(each) for each in value] if isinstance(value, list) else value
