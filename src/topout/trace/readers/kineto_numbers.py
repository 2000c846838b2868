"""Numbers of a trace as they are written, to whole numbers: the rules of trace_number.h."""

import re

_DECIMAL = re.compile(rb"(-?)([0-9]+)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?")
_LARGEST = 2**63 - 1
_LARGEST_EXPONENT = 10_000  # far beyond what 63 bits hold; a longer number must not cost time
_LANE = b"stream "
_FIVE = ord("5")


def scaled_number(text: bytes, shift: int) -> int | None:
    """The number in `text` times 10^shift, exactly, halves rounded away from zero.

    None where it is no number or needs more than 63 bits and a sign.
    """
    found = _DECIMAL.fullmatch(text)
    if found is None:
        return None
    sign, whole, fraction, exponent = found.groups(b"")
    digits = (whole + fraction).lstrip(b"0")
    if not digits:
        return 0
    power = _bounded(exponent) - len(fraction) + shift
    if len(digits) + power > 20:
        return None
    kept = digits[:40]  # the first digit dropped decides, and it is among these
    power += len(digits) - len(kept)
    if len(kept) + power < 0:
        return 0
    if power >= 0:
        value = int(kept + b"0" * power)
    else:
        value = int(kept[:power] or b"0") + (kept[power] >= _FIVE)
    if value > _LARGEST:
        return None
    return -value if sign else value


def lane_number(text: bytes) -> int | None:
    """A number, or the N of "stream N", as PyTorch 1.8 named the streams of a device."""
    return scaled_number(text.removeprefix(_LANE), 0)


def _bounded(exponent: bytes) -> int:
    if not exponent:
        return 0
    magnitude = exponent.lstrip(b"+-").lstrip(b"0")
    value = int(magnitude or b"0") if len(magnitude) < 6 else 10 * _LARGEST_EXPONENT
    return -value if exponent.startswith(b"-") else value
