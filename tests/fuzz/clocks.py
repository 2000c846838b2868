"""The cases of damaged times: 10,000 of them in `make fuzz`, beside those of corrupted inputs.

The folder of a case holds the undamaged trace too; no figure may be beyond its wall time.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from random import Random

from tests.fuzz.target import Seed, Target
from tests.trace.damage import beyond, damaged, extent_s
from tests.trace.readers.kineto_files import training_trace
from topout.trace.analysis.groups import load_rules
from topout.trace.analysis.report import analyse
from topout.trace.readers.read import read_trace

_WHOLE, _DAMAGED = "whole.json", "rank0.json"


@functools.cache
def seeds() -> Sequence[Seed]:
    """Some steps of training, with a base time and without, on one layer and several."""
    found = []
    for old in (False, True):
        for steps, layers in ((1, 1), (3, 2), (5, 4)):
            data = training_trace(old=old, steps=steps, layers=layers).text(indent=None).encode()
            name = f"{'old' if old else 'new'}-{steps}-{layers}"
            found.append(Seed(name, {_WHOLE: data, _DAMAGED: data}, _DAMAGED))
    return found


def damage_times(data: bytes, random: Random) -> bytes:
    """Other clocks and impossible durations, once for each case."""
    is_whole = data in {seed.files[_DAMAGED] for seed in seeds()}
    return damaged(data, random) if is_whole else data


def ask(folder: Path) -> str:
    """`topout trace FILE`; raises AssertionError for a figure beyond what was recorded."""
    report = analyse([read_trace(folder / _DAMAGED)], load_rules())
    found = beyond(report, extent_s((folder / _WHOLE).read_bytes()))
    assert not found, "; ".join(found[:3])
    assert report.doubts, "no doubt"
    return " ".join(doubt.sentence for doubt in report.doubts)


TARGETS = [Target("clocks", seeds, [damage_times], ask, "")]
