"""Text from elsewhere made safe to show: file, kernel, tensor and model names, a worker's words.

Everything that reaches a terminal or a page passes here. Records keep the text as it was: JSON
has an escape for each of these characters.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

# What a terminal or a page would obey or hide: names come from files. Control characters but the
# line feed, marks that set the direction of what follows, characters without width (with which two
# names look the same), separators of lines, and lone surrogates: bytes that are no text.
_OBEYED = (
    "\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3\U000e0000-\U000e0fff"
)
# Without width as well, but words of several scripts and many emoji are written with them.
_JOINERS = "\u200c\u200d"
_IN_PROSE = re.compile(f"[{_OBEYED}]")
_IN_NAMES = re.compile(f"[{_OBEYED}{_JOINERS}]")
_SHOWN = "\ufffd"
_LINE_END = re.compile(r"\s*\n\s*")
_SURROGATE = re.compile("[\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with each character that a terminal or browser would obey replaced by U+FFFD."""
    return _IN_NAMES.sub(_SHOWN, text)


def visible_prose(text: str) -> str:
    """The same for what a model wrote, which is not a name: joiners stay."""
    return _IN_PROSE.sub(_SHOWN, text)


def one_line(text: str) -> str:
    """The same without line ends, which a name could have to look like several lines of ours."""
    return _LINE_END.sub(" ", visible(text).strip())


def shown(value: Any) -> Any:
    """A record, or what one is made of, with each of its texts as `one_line` shows it.

    Fields that a record names in `PROSE` stay as they are: texts of several lines.
    """
    if isinstance(value, str):
        return one_line(value) if _IN_NAMES.search(value) or "\n" in value else value
    if isinstance(value, msgspec.Struct):
        prose: tuple[str, ...] = getattr(value, "PROSE", ())
        names = [name for name in value.__struct_fields__ if name not in prose]
        fields = {name: getattr(value, name) for name in names}
        changed = {name: new for name, old in fields.items() if (new := shown(old)) is not old}
        return msgspec.structs.replace(value, **changed) if changed else value
    if isinstance(value, Mapping):
        made: Any = {shown(key): shown(each) for key, each in value.items()}
        return made if made != value else value
    if isinstance(value, list | tuple):
        parts = [shown(each) for each in value]
        same = all(new is old for new, old in zip(parts, value, strict=True))
        return value if same else type(value)(parts)
    return value


def escaped_json(text: str) -> str:
    """JSON in which no character is obeyed by a terminal that shows it; it means the same."""
    return _IN_NAMES.sub(_escape, text)


def as_text(value: Any) -> Any:
    """Plain values in which bytes that are no UTF-8, as in names of files, are spelled `\\xff`."""
    if isinstance(value, str):
        return _SURROGATE.sub(_spelled_byte, value)
    if isinstance(value, dict):
        return {as_text(key): as_text(each) for key, each in value.items()}
    return [as_text(each) for each in value] if isinstance(value, list | tuple) else value


def _escape(found: re.Match[str]) -> str:
    units = found.group().encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _spelled_byte(found: re.Match[str]) -> str:
    """Python has a byte that it could not decode as U+DC00 and its value."""
    code = ord(found.group())
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
