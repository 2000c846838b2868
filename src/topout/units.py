"""SI values formatted for people: the only place where a figure gets its prefix."""

import math

_PREFIXES = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")]
_BINARY_PREFIXES = [(1024.0**4, "Ti"), (1024.0**3, "Gi"), (1024.0**2, "Mi"), (1024.0, "Ki")]
_TIMES = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")]
# From how many seconds on, of which unit, with what is left over of the next smaller one.
_LONG_TIMES = [(172_800, 86_400, "days", 3600, "h"), (3600, 3600, "h", 60, "min"),
               (60, 60, "min", 1, "s")]  # fmt: skip
_YEAR_S = 31_557_600.0
ABSENT = "–"


def significant(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant digits, no exponent: 1234.5 → "1234", 0.5 → "0.500"."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    rounded = round(value, digits - 1 - magnitude)
    # Rounding can lift a value into the next decade (9.996 → 10.0).
    magnitude = math.floor(math.log10(abs(rounded)))
    return f"{rounded:.{max(0, digits - 1 - magnitude)}f}"


def si(value: float | None, unit: str, digits: int = 3) -> str:
    """`value` with a decimal prefix, e.g. 2.35e11, "FLOP/s" → "235 GFLOP/s"."""
    if value is None:
        return ABSENT
    for scale, prefix in _PREFIXES:
        # 999.9996 k must become 1.00 M, so the comparison is made on the rounded value.
        if abs(value) >= scale * (1 - 0.5 * 10.0**-digits) and value != 0:
            return f"{significant(value / scale, digits)} {prefix}{unit}".rstrip()
    return f"{significant(value, digits)} {unit}".rstrip()


def rate(work: float, time_s: float) -> float | None:
    """Work per second; None where no time was taken, as in a record that was edited."""
    return work / time_s if time_s > 0 else None


def flops_per_s(value: float | None) -> str:
    """FLOP per second, decimal prefixes."""
    return si(value, "FLOP/s")


def bytes_per_s(value: float | None) -> str:
    """Bytes per second, decimal prefixes (1 GB/s = 1e9 bytes/s)."""
    return si(value, "B/s")


def count(value: float | None) -> str:
    """A count such as events: 1234567 → "1.23 M"; below a thousand exact: 66 → "66"."""
    if value is not None and abs(value) < 1000 and value == int(value):
        return str(int(value))
    return si(value, "")


def parameters(number: float | None) -> str:
    """A count of parameters as models are named, billions with a "B": 7241732096 → "7.24 B"."""
    text = count(number)
    return f"{text[:-1]}B" if text.endswith("G") else text


def counted(number: int, noun: str) -> str:
    """A number of things: 1, "thread" → "1 thread"; 2, "thread" → "2 threads"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def memory(value: float | None) -> str:
    """Bytes of memory with binary prefixes, as memory is sold: 2**30 → "1.00 GiB"."""
    if value is None:
        return ABSENT
    for scale, prefix in _BINARY_PREFIXES:
        if abs(value) >= scale:
            return f"{significant(value / scale)} {prefix}B"
    return f"{value:.0f} B"


def seconds(value: float | None) -> str:
    """A duration: 0.00123 → "1.23 ms", 90 → "1 min 30 s", 122,400 → "34 h 0 min"."""
    if value is None:
        return ABSENT
    if not math.isfinite(value):
        return f"{value} s"
    if abs(value) >= 60:
        return _long(abs(value), "-" if value < 0 else "")
    for scale, unit in _TIMES:
        if abs(value) >= scale * 0.9995:
            return f"{significant(value / scale)} {unit}"
    return "0 s" if value == 0 else f"{significant(value / 1e-9)} ns"


def _long(value: float, sign: str) -> str:
    """A minute and more, in a unit and what is left over in the next smaller one."""
    if value >= _YEAR_S:
        return f"{sign}{significant(value / _YEAR_S)} years"
    known = (row for row in _LONG_TIMES if round(value) >= row[0])
    _, scale, unit, smaller, smaller_unit = next(known, _LONG_TIMES[-1])
    whole, rest = divmod(round(value / smaller), scale // smaller)
    return f"{sign}{whole} {unit} {rest} {smaller_unit}"


def percent(ratio: float | None, digits: int = 0) -> str:
    """A ratio (0 to 1) as percent: 0.534 → "53 %"."""
    return ABSENT if ratio is None else f"{ratio * 100:.{digits}f} %"


def times(ratio: float | None) -> str:
    """A speedup: 3.14159 → "3.14×"."""
    return ABSENT if ratio is None else f"{significant(ratio)}×"
