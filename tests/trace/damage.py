"""Recorded traces damaged as profilers damage them: other clocks, durations that cannot have been.

Each damage is beyond doubt: hours from everything else, or longer than all else by hours. What lies
nearer may be right, and no test can hold it against a recording.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import msgspec

from topout.records.trace import TraceReport

HOUR_US = 3_600 * 10**6
_LEAST_US, _MOST_US = 2 * HOUR_US, 10**6 * HOUR_US  # 114 years
_NOT_DURATIONS = ("NaN", "Infinity", "-Infinity", "1e308", "1e400", "null", '"long"', "1e30")
Event = dict[str, Any]


def _far(random: Random) -> float:
    """Any number of hours, as likely of a few as of a million; seldom the same twice."""
    hours = _LEAST_US * (_MOST_US / _LEAST_US) ** random.random()
    return float(round(hours + random.randrange(HOUR_US), 3))


def at_zero(event: Event, random: Random) -> None:
    """A time that was never set."""
    event["ts"] = 0
    event["dur"] = random.choice([0, event.get("dur", 0)])


def far_away(event: Event, random: Random) -> None:
    """A time of another clock, hours to a century before or after."""
    event["ts"] = event["ts"] + random.choice([-1, 1]) * _far(random)


def wrapped(event: Event, random: Random) -> None:
    """What is left of a number of 64 bits that ran over."""
    event["ts"] = random.choice([2**63 // 1000, 2**64 // 1000, -(2**63) // 1000, 1e19])


def too_long(event: Event, random: Random) -> None:
    """Hours to a century, or no number at all."""
    if random.random() < 0.4:
        event["dur"] = RAW + random.choice(_NOT_DURATIONS)
    else:
        event["dur"] = _far(random)


RAW = "raw:"  # in front of what is no JSON, until the file is written
DAMAGES: tuple[Callable[[Event, Random], None], ...] = (at_zero, far_away, wrapped, too_long)


def damaged(data: bytes, random: Random, most: int = 3) -> bytes:
    """A trace in which one to `most` events that do not belong together are damaged."""
    whole = json.loads(data)
    events = [each for each in whole["traceEvents"] if each.get("ph") == "X" and "dur" in each]
    joined: set[Any] = set()
    lengths: set[Any] = set()
    for event in random.sample(events, min(len(events), random.randint(1, most))):
        number = event.get("args", {}).get("correlation")
        # A call and its work that go wrong alike are a recording: that is how clocks are told.
        if number is not None and number in joined:
            continue
        joined.add(number)
        for damage in random.sample(DAMAGES, random.choice([1, 1, 2])):
            damage(event, random)
        # Two that end together by chance would be a wait and what it waits for.
        event["dur"] = event["dur"] if event["dur"] not in lengths else RAW + "NaN"
        lengths.add(event["dur"])
    text = json.dumps(whole)
    for token in _NOT_DURATIONS:
        text = text.replace(json.dumps(RAW + token), token)
    return text.encode()


def extent_s(data: bytes) -> float:
    """From the first moment of an undamaged trace to its last."""
    events = [each for each in json.loads(data)["traceEvents"] if "ts" in each]
    first = min(each["ts"] for each in events)
    return float(max(each["ts"] + each.get("dur", 0) for each in events) - first) / 1e6


def beyond(report: TraceReport, most_s: float) -> list[str]:
    """The places of all times of a report that are below zero or beyond `most_s`."""
    found = msgspec.json.decode(msgspec.json.encode(report))
    del found["elapsed_s"]  # of reading it
    return [
        f"{place}: {value} s"
        for place, value in _times(found)
        if not -1e-12 <= value <= most_s * (1 + 1e-9)
    ]


def _times(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, inside in value.items():
            is_time = key.endswith("_s") and not key.endswith("_per_s")
            if is_time and isinstance(inside, int | float):
                yield f"{place}.{key}", inside
            yield from _times(inside, f"{place}.{key}")
    elif isinstance(value, list):
        for number, inside in enumerate(value):
            yield from _times(inside, f"{place}[{number}]")
