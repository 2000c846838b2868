"""Typed reading of the fields of a `config.json`, with errors that name the field."""

import math
from typing import Any

from topout.errors import InputError

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
        """A whole number of at least `least`, and at most `most`."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(key, value, "a whole number")
        if value < least:
            raise self.wrong(key, value, f"at least {least}")
        if most is not None and value > most:
            raise self.wrong(key, value, f"at most {most}")
        return value

    def number(self, key: str, default: Any = _ABSENT, *, least: float = 0.0) -> float:
        """A finite number that is greater than `least`."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong(key, value, "a number")
        if not math.isfinite(value) or value <= least:
            raise self.wrong(key, value, f"a finite number above {least:g}")
        return float(value)

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
            f"{self.source}: `{key}` is {value!r}, and it has to be {wanted}.",
            f"Correct `{key}` in config.json.",
        )

    def _value(self, key: str, default: Any) -> Any:
        value = self.raw.get(key)
        if value is not None:
            return value
        if default is _ABSENT:
            raise InputError(f"{self.source}: `{key}` is missing.", f"Add `{key}` to config.json.")
        return default
