"""The words in a graph's boxes, and how wide they will be."""

from topout import units
from topout.records import GraphNode

NAME_SIZE, DETAIL_SIZE = 13.0, 11.0
# Of the font size; those of a wide sans-serif, so that no text leaves its box in another.
_NARROW, _DIGIT, _CAPITAL, _WIDE, _OTHER = 0.36, 0.64, 0.71, 0.95, 0.62
_CIRCLES = {"+", "−", "×", "÷"}


def text_width(text: str, size: float, bold: bool = False) -> float:
    """An upper estimate of a text's width in pixels."""
    width = sum(_character_width(character) for character in text) * size
    return width * 1.12 if bold else width


def _character_width(character: str) -> float:
    if character in " .,:;|!'`iIljtfr()[]":
        return _NARROW
    if character in "mwMW@%×÷−+":
        return _WIDE
    if character.isdigit():
        return _DIGIT
    if character.isupper():
        return _CAPITAL
    # Most scripts that are not Latin have wide letters.
    return _OTHER if ord(character) < 0x2000 else 1.05


def title_of(node: GraphNode) -> str:
    """The node's own name: "attn"; of a stack the first and the last: "h.0 – h.11"."""
    return f"{node.label} – {node.last_label}" if node.last_label else node.label


def class_of(node: GraphNode) -> str:
    """The class beside the name, where it says something more."""
    name = node.class_name or ("function" if node.kind == "function" else "")
    return "" if name == node.label else name


def shape_of(node: GraphNode) -> str:
    """The shape of what it puts out: "1 × 128 × 768"; of several the first and how many more."""
    if not node.output_shapes:
        return ""
    first = shape_text(node.output_shapes[0])
    more = len(node.output_shapes) - 1
    return f"{first}  + {more} more" if more else first


def shape_text(shape: list[int]) -> str:
    """ "1 × 128 × 768"; a single number is a scalar."""
    return " × ".join(str(size) for size in shape) or "scalar"


def parameters_of(node: GraphNode) -> str:
    """ "7.09 M", and of a stack "each"; empty without parameters."""
    if not node.parameters:
        return ""
    text = units.count(node.parameters) if node.parameters >= 10_000 else f"{node.parameters:,}"
    return f"{text} each" if node.repeats > 1 else text


def is_circle(node: GraphNode) -> bool:
    """Whether an op is drawn as a sign in a circle."""
    return node.kind == "op" and node.label in _CIRCLES
