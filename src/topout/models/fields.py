"""Typed reading of the fields of a `config.json`, with errors that name the field.

`Fields` reads any field; the functions read what several families state alike.
"""

import sys
from typing import Any, Literal

from topout.errors import InputError, UnsupportedError

Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
# What a whole number of a config is at most, by a word in its key: far above any model, and so low
# that no product of them takes days or bytes without end. The first word that is there decides.
MOST_LAYERS = 10_000
_MOST = (
    ("layer", MOST_LAYERS),
    ("vocab", 1 << 26),
    ("token_id", 1 << 26),
    ("position", 1 << 31),
    ("window", 1 << 31),
    ("head", 1 << 16),
    ("experts", 1 << 16),
    ("image_size", 1 << 16),
)
_MOST_OTHERS = 1 << 20  # widths
_LAYER_KINDS = ("full_attention", "sliding_attention")  # by whether the layer has a window
_MOST_SHOWN = 80  # characters of a wrong value
_MOST_NUMBER = sys.float_info.max
_ABSENT = object()


class Fields:
    """The fields of one JSON object; every getter raises InputError that names field and source.

    A field that is `null` counts as absent, as it does in transformers.
    """

    def __init__(self, raw: dict[str, Any], source: str) -> None:
        self.raw = raw
        self.source = source

    def has(self, key: str) -> bool:
        """Whether the field is there and not null."""
        return self.raw.get(key) is not None

    def integer(
        self, key: str, default: Any = _ABSENT, *, least: int = 1, most: int | None = None
    ) -> int:
        """A whole number of at least `least`, and at most `most`, by default what no model has."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(key, value, "a whole number")
        if value < least:
            raise self.wrong(key, value, f"at least {least}")
        most = _most_of(key) if most is None else most
        if value > most:
            raise self.wrong(key, value, f"at most {most}")
        return value

    def number(self, key: str, default: Any = _ABSENT, *, least: float = 0.0) -> float:
        """A finite number that is greater than `least`."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong(key, value, "a number")
        if abs(value) <= _MOST_NUMBER and value > least:  # not for NaN
            return float(value)
        raise self.wrong(key, value, f"a finite number above {least:g}")

    def flag(self, key: str, default: Any = _ABSENT) -> bool:
        """True or false."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, value, "true or false")
        return value

    def text(self, key: str, default: Any = _ABSENT) -> str:
        """A string."""
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, value, "a string")
        return value

    def integers(self, key: str, default: Any = _ABSENT, *, least: int = 1) -> list[int]:
        """A list of whole numbers of at least `least`."""
        value = self._value(key, default)
        if not isinstance(value, list):
            raise self.wrong(key, value, "a list of whole numbers")
        for number in value:
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise self.wrong(key, value, f"a list of whole numbers of at least {least}")
            if number > _most_of(key):
                raise self.wrong(key, value, f"a list of whole numbers up to {_most_of(key)}")
        return value

    def texts(self, key: str, default: Any = _ABSENT) -> list[str]:
        """A list of strings."""
        value = self._value(key, default)
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise self.wrong(key, value, "a list of strings")
        return value

    def nested(self, key: str) -> "Fields":
        """The object under `key`, empty when the field is absent."""
        value = self._value(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, value, "an object")
        return Fields(value, f"{self.source} `{key}`")

    def wrong(self, key: str, value: Any, wanted: str) -> InputError:
        """The error for a field whose value cannot be used."""
        return InputError(
            f"{self.source}: `{key}` is {_shortened(value)}, and it has to be {wanted}.",
            f"Correct `{key}` in config.json.",
        )

    def _value(self, key: str, default: Any) -> Any:
        value = self.raw.get(key)
        if value is not None:
            return value
        if default is _ABSENT:
            raise InputError(f"{self.source}: `{key}` is missing.", f"Add `{key}` to config.json.")
        return default


def _most_of(key: str) -> int:
    return next((most for word, most in _MOST if word in key), _MOST_OTHERS)


def _shortened(value: Any) -> str:
    """A value as an error shows it, which a file may have made as long as it likes."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def stated_classes(fields: Fields) -> list[str]:
    """The transformers classes that `architectures` names; empty where it is absent."""
    return fields.texts("architectures", [])


def notes(fields: Fields, counted_as: str) -> list[str]:
    """What counting `counted_as` leaves out of what `config.json` describes, in words."""
    left_out = []
    classes = stated_classes(fields)
    if classes and counted_as not in classes:
        left_out.append(
            f"config.json names {', '.join(classes)}; {counted_as} is counted in its place."
        )
    return left_out


def label_count(fields: Fields) -> int:
    """The classes that a classifier tells apart: of `id2label`, else `num_labels`, else 2.

    Raises InputError when the two contradict each other.
    """
    stated = fields.integer("num_labels", least=0) if fields.has("num_labels") else None
    if not fields.has("id2label"):
        return 2 if stated is None else stated  # transformers' default
    named = len(fields.nested("id2label").raw)
    if stated not in (None, named):
        raise InputError(
            f"{fields.source}: `num_labels` is {stated}, and `id2label` names {named} labels.",
            "Correct one of them in config.json.",
        )
    return named


def check_heads(fields: Fields, width: int, heads: int) -> None:
    """Raise InputError when the heads do not divide the width."""
    if width % heads:
        raise InputError(
            f"{fields.source}: {heads} heads do not divide the width {width}.",
            "Correct the number of heads or the width in config.json.",
        )


def read_kv_heads(fields: Fields, heads: int, default: int) -> int:
    """The key/value heads: `default` where none are stated, as many as heads where null is."""
    is_null = "num_key_value_heads" in fields.raw and not fields.has("num_key_value_heads")
    return heads if is_null else fields.integer("num_key_value_heads", default)


def read_activation(fields: Fields, key: str, default: str) -> Activation:
    """The activation that `key` names; raises UnsupportedError for one that is not known."""
    name = fields.text(key, default)
    if name not in ACTIVATIONS:
        raise UnsupportedError(
            f"{fields.source}: activation {name!r} is not supported.",
            f"Supported are {', '.join(ACTIVATIONS)}.",
        )
    return ACTIVATIONS[name]


def read_sliding_layers(fields: Fields, default: list[bool]) -> list[bool]:
    """Which layers see a window only: by `layer_types`, or `default` when that is absent.

    Raises InputError for a kind of layer that is neither, or another number of layers.
    """
    kinds = fields.texts("layer_types", [_LAYER_KINDS[slides] for slides in default])
    if len(kinds) != len(default):
        raise fields.wrong("layer_types", kinds, f"a list of {len(default)}, one per layer")
    if not set(kinds) <= set(_LAYER_KINDS):
        raise fields.wrong("layer_types", kinds, f"a list of {' and '.join(_LAYER_KINDS)}")
    return [kind == _LAYER_KINDS[True] for kind in kinds]


def read_window(fields: Fields) -> int | None:
    """The tokens that a sliding layer sees: 4096 where none are stated, all where null is."""
    is_null = "sliding_window" in fields.raw and not fields.has("sliding_window")
    return None if is_null else fields.integer("sliding_window", 4096)


def read_rate(fields: Fields, key: str, default: float) -> float:
    """A dropout rate: from 0 to below 1; raises InputError for another value."""
    if not fields.has(key):
        return default
    rate = fields.raw[key]
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise fields.wrong(key, rate, "a number from 0 to below 1")
    return float(rate)
