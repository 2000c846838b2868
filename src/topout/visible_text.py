"""Text from elsewhere made safe to show: file, kernel, tensor and model names, a worker's words."""

import re

# Control characters but the line feed, marks that reverse the direction of what follows, and
# lone surrogates: names come from files, and a terminal or page would obey them.
_OBEYED = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    """The text with each character that a terminal or browser would obey replaced by U+FFFD."""
    return _OBEYED.sub("\ufffd", text)
