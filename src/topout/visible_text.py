"""Text from elsewhere made safe to show: file, kernel, tensor and model names, a worker's words.

Everything that reaches a terminal or a page passes here. Records keep the text as it was.
"""

import re

# What a terminal or a page would obey or hide: names come from files. Control characters but the
# line feed, marks that set the direction of what follows, characters without width (with which two
# names look the same), separators of lines, and lone surrogates: bytes that are no text.
_OBEYED = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3\U000e0000-\U000e0fff]"
)
# Without width as well, but words of several scripts and many emoji are written with them.
_JOINERS = re.compile("[\u200c\u200d]")
_SHOWN = "\ufffd"
_LINE_END = re.compile(r"\s*\n\s*")


def visible(text: str) -> str:
    """The text with each character that a terminal or browser would obey replaced by U+FFFD."""
    return _JOINERS.sub(_SHOWN, visible_prose(text))


def visible_prose(text: str) -> str:
    """The same for what a model wrote, which is not a name: joiners stay."""
    return _OBEYED.sub(_SHOWN, text)


def one_line(text: str) -> str:
    """The text without line ends, which a name in it could have: it says nothing but one line."""
    return _LINE_END.sub(" ", visible(text).strip())
