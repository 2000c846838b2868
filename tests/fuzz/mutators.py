"""What is done to a whole input: to its bytes, and where it is JSON or a table to its values."""

import copy
import gzip
import json
from collections.abc import Callable
from random import Random
from typing import Any

Mutator = Callable[[bytes, Random], bytes]

NUMBERS = [
    *("0", "-1", "1", "2147483648", "9223372036854775807", "9223372036854775808"),
    *("18446744073709551616", "1" + "0" * 400, "1e308", "-1e308", "1e400", "1e-400", "0.1"),
    *("NaN", "Infinity", "-Infinity", "nan", "inf", "-0.0", "1.5e3", "0x10", "1_000"),
]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, -(2**63), 0.5, 1e308, -1e308),
    *(float("nan"), float("inf"), "", "1", "text", "\x1b[2J", "\u202e", "\ud800", "\0", "a" * 5000),
    *([], {}, [None], [1, [2, [3]]], {"": 1}, {"a": {"b": {}}}, [0] * 300),
]
# Keys whose values are of a few words: another would be refused by its field.
_WORDS = ("kind", "schema_version", "status", "verdict", "output_class", "device", "dtype", "bound")
PIECES = [
    *(b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x1b[31m", b"\r\n", b"\n"),
    *(b'"', b"'", b"{", b"}", b"[", b"]", b",", b";", b"\t", b":", b"\\", b"\\u0000", b"\\ud800"),
]


def _span(data: bytes, random: Random) -> tuple[int, int]:
    begin = random.randrange(len(data) + 1)
    return begin, min(len(data), begin + random.choice([1, 2, 8, 64, 512, 4096]))


def flip_bits(data: bytes, random: Random) -> bytes:
    """One to eight bits the other way round."""
    found = bytearray(data)
    for _ in range(random.randint(1, 8)):
        if found:
            found[random.randrange(len(found))] ^= 1 << random.randrange(8)
    return bytes(found)


def truncate(data: bytes, random: Random) -> bytes:
    """The beginning, as a killed job leaves it."""
    return data[: random.randrange(len(data) + 1)]


def delete_span(data: bytes, random: Random) -> bytes:
    """Without some bytes."""
    begin, end = _span(data, random)
    return data[:begin] + data[end:]


def repeat_span(data: bytes, random: Random) -> bytes:
    """Some bytes again, up to a thousand times."""
    begin, end = _span(data, random)
    return data[:end] + data[begin:end] * random.choice([1, 1, 2, 1000]) + data[end:]


def move_span(data: bytes, random: Random) -> bytes:
    """Some bytes in the place of others."""
    begin, end = _span(data, random)
    at = random.randrange(len(data) + 1)
    return data[:at] + data[begin:end] + data[at + (end - begin) :]


def insert_piece(data: bytes, random: Random) -> bytes:
    """A byte or two that mean something to somebody."""
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(PIECES) * random.choice([1, 1, 3]) + data[at:]


def zero_span(data: bytes, random: Random) -> bytes:
    """NUL bytes, as a file system leaves them where a machine went down."""
    begin, end = _span(data, random)
    return data[:begin] + bytes(end - begin) + data[end:]


def replace_number(data: bytes, random: Random) -> bytes:
    """Another number in the place of one that is written out."""
    places = [at for at in range(len(data)) if 48 <= data[at] <= 57]
    if not places:
        return insert_piece(data, random)
    begin = end = random.choice(places)
    while begin and data[begin - 1 : begin] in b"0123456789.-+eE" and data[begin - 1 : begin]:
        begin -= 1
    while end < len(data) and data[end : end + 1] in b"0123456789.-+eE":
        end += 1
    return data[:begin] + random.choice(NUMBERS).encode() + data[end:]


def nest_deeply(data: bytes, random: Random) -> bytes:
    """Brackets without end, closed or not."""
    depth = random.choice([60, 70, 500, 100_000])
    inside = random.choice([(b"[", b"]"), (b'{"a":', b"}")])
    nested = inside[0] * depth + b"1" + (inside[1] * depth if random.random() < 0.5 else b"")
    places = [at + 1 for at in range(len(data)) if data[at : at + 1] == b":"]
    if not places or random.random() < 0.2:
        return nested
    at = random.choice(places)
    return data[:at] + nested + data[at:]


def encode_otherwise(data: bytes, random: Random) -> bytes:
    """The text in another encoding, with or without its mark."""
    text = data.decode(errors="replace")
    other = random.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "cp037"])
    return text.encode(other, errors="replace")


def compress(data: bytes, random: Random) -> bytes:
    """gzip, whole, cut off, damaged, or twice in a row."""
    packed = gzip.compress(data, mtime=0)
    way = random.randrange(4)
    if way == 0:
        return packed
    if way == 1:
        return truncate(packed, random)
    if way == 2:
        return flip_bits(packed, random)
    return packed + gzip.compress(data[: len(data) // 2], mtime=0)


def swap_columns(data: bytes, random: Random) -> bytes:
    """Two columns of a table changed for each other, in all lines or in the header alone."""
    lines = data.split(b"\n")
    separator = max((b",", b";", b"\t"), key=lines[len(lines) // 2].count)
    count = lines[len(lines) // 2].count(separator) + 1
    one, other = random.randrange(count), random.randrange(count)
    header_only = random.random() < 0.3
    for number, line in enumerate(lines):
        fields = line.split(separator)
        if max(one, other) < len(fields) and not (header_only and number > 4):
            fields[one], fields[other] = fields[other], fields[one]
            lines[number] = separator.join(fields)
    return b"\n".join(lines)


def drop_line(data: bytes, random: Random) -> bytes:
    """A line less, or one in another place."""
    lines = data.split(b"\n")
    line = lines.pop(random.randrange(len(lines)))
    if random.random() < 0.5:
        lines.insert(random.randrange(len(lines) + 1), line)
    return b"\n".join(lines)


def change_value(data: bytes, random: Random) -> bytes:
    """JSON in which a value has another type or size, a key is gone, or another is there."""
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        return flip_bits(data, random)
    for _ in range(random.choice([1, 1, 1, 2, 5])):
        whole = _changed(whole, random)
    return json.dumps(whole).encode()


def _changed(whole: Any, random: Random) -> Any:
    places = _places(whole)
    if not places:
        return copy.deepcopy(random.choice(VALUES))
    inside, key = random.choice(places)
    way = random.random()
    if way < 0.6:
        inside[key] = copy.deepcopy(random.choice(VALUES))
    elif way < 0.75:
        del inside[key]
    elif way < 0.9:
        other_inside, other_key = random.choice(places)
        inside[key] = json.loads(json.dumps(other_inside[other_key]))
    elif isinstance(inside, dict):
        inside[random.choice(["", "kind", "\x1b[2J", "a" * 300])] = copy.deepcopy(
            random.choice(VALUES)
        )
    else:
        inside.extend(inside[:50] * random.choice([1, 20]))
    return whole


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container with each of its keys or indices."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        inside = waiting.pop()
        if isinstance(inside, dict | list):
            keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
            found += [(inside, key) for key in keys]
            waiting += [inside[key] for key in keys]
    return found


def change_figure(data: bytes, random: Random) -> bytes:
    """JSON in which values keep their type and become what no measurement gives."""
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        return replace_number(data, random)
    for _ in range(random.choice([1, 1, 2, 4])):
        places = [(inside, key) for inside, key in _places(whole) if key not in _WORDS]
        if places:
            inside, key = random.choice(places)
            inside[key] = _of_the_same_type(inside[key], random)
    return json.dumps(whole).encode()


def _of_the_same_type(value: Any, random: Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random.choice([0, -1, 1, 2**31, 2**63 - 1, -(2**63), 10**20])
    if isinstance(value, float):
        return random.choice([0.0, -1.0, 1e308, -1e308, 1e-308, 5e-324])
    if isinstance(value, str):
        return random.choice(["", "a" * 3000, "\x1b[2J", "<script>", "\u202e", "[red]"])
    if isinstance(value, list):
        return random.choice([[], value[:1], value * 50 if len(value) < 100 else []])
    return random.choice([None, 0.0, 1e308]) if value is None else value


def repeat_key(data: bytes, random: Random) -> bytes:
    """JSON in which a member of the outermost object stands twice."""
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        return repeat_span(data, random)
    if not isinstance(whole, dict) or not whole:
        return repeat_span(data, random)
    key = random.choice(list(whole))
    member = json.dumps({key: copy.deepcopy(random.choice(VALUES))})[1:-1]
    return b"{" + member.encode() + b"," + data.lstrip()[1:]


BYTES: list[Mutator] = [
    *(flip_bits, truncate, delete_span, repeat_span, move_span, insert_piece, zero_span),
]
TEXT: list[Mutator] = [*BYTES, replace_number, replace_number, encode_otherwise, drop_line]
JSON: list[Mutator] = [*TEXT, *[change_value] * 6, nest_deeply, repeat_key, compress]
RECORD: list[Mutator] = [*JSON, *[change_figure] * 10]
TABLE: list[Mutator] = [*TEXT, *[swap_columns] * 2, compress]
