"""Measurements of this machine that are kept, several of each, and the one that stands.

Undisturbed ones stand before disturbed ones, and full ones before quick ones. Among undisturbed
ones the newest stands, since a machine may have changed; among disturbed ones that with the better
figures. So a busy machine never replaces a better figure.
"""

import contextlib
import itertools
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from topout.cache_folder import kept_files, read_kept, writable_cache_folder
from topout.errors import OutputError, RecordError
from topout.measure.stats import load_doubts
from topout.records import Ceilings, Doubt, Rates, decode, write
from topout.roofline import ABOVE_A_CEILING

M = TypeVar("M", bound=Ceilings | Rates)
P = TypeVar("P")

_LOGGER = logging.getLogger(__name__)
_MOST_KEPT = 8
_MOST_DISTURBED = 3  # from there on a machine that is never quiet is taken as it is
# What a doubt is about when the same measurement may come out better at another time.
_DISTURBANCES = ("machine", "load", "steal", "swap", "contradiction", ABOVE_A_CEILING)


class Shelf(NamedTuple, Generic[M]):
    """The measurements of one kind and key.

    `accept` gives a measurement of a file as it may be used, or raises RecordError. `merit` of a
    disturbed one is the higher, the better its figures are.
    """

    part: str  # folder of the cache
    stem: str  # that the names of its files begin with
    record_type: type[M]
    accept: Callable[[M, str], M]
    merit: Callable[[M], float]

    def kept(self) -> list[M]:
        """Those that can be read and can be, the one that stands first."""
        return [each for _, each in self._found()]

    def standing(self, measurements: Sequence[M]) -> list[M]:
        """In the order in which they stand, by the rule of this module."""
        return [each for _, each in self._ordered([(None, each) for each in measurements])]

    def keep(self, measurement: M) -> M:
        """Keep one more; returns the one that stands now.

        The worst go when there are too many, and files that cannot be read. A cache that refuses
        costs a measurement.
        """
        before = self._found()
        with contextlib.suppress(OutputError, OSError):
            path = self._free_path(writable_cache_folder(self.part), measurement)
            write(measurement, path)
            _LOGGER.info("%s were measured and are kept in %s", self.part, path)
            good = {path for path, _ in self._found()[:_MOST_KEPT]}
            for path in self._paths():
                if path not in good:
                    path.unlink(missing_ok=True)
        return self.standing([measurement, *(each for _, each in before)])[0]

    def _found(self) -> list[tuple[Path, M]]:
        found: list[tuple[Path, M]] = []
        for path in self._paths():
            with contextlib.suppress(RecordError, OSError):
                measurement = decode(read_kept(path), self.record_type, str(path))
                found.append((path, self.accept(measurement, str(path))))
        return self._ordered(found)

    def _ordered(self, found: Sequence[tuple[P, M]]) -> list[tuple[P, M]]:
        newest = sorted(found, key=lambda each: each[1].measured_at or "", reverse=True)
        return sorted(newest, key=lambda each: self._rank(each[1]))

    def _paths(self) -> list[Path]:
        return kept_files(self.part, f"{self.stem}*.json")

    def _free_path(self, folder: Path, measurement: M) -> Path:
        at = re.sub(r"\D", "", measurement.measured_at or "")[:14]
        names = (f"{self.stem}-{at}-{number}.json" for number in itertools.count(1))
        return next(folder / name for name in names if not (folder / name).exists())

    def _rank(self, measurement: M) -> tuple[bool, bool, float]:
        disturbed = is_disturbed(measurement)
        return disturbed, _is_quick(measurement), -self.merit(measurement) if disturbed else 0.0


def is_disturbed(measurement: Ceilings | Rates) -> bool:
    """Whether something went on meanwhile that made its figures other than the machine's."""
    return bool(disturbances_of(measurement))


def disturbances_of(measurement: Ceilings | Rates) -> list[Doubt]:
    """The doubts that another measurement may not raise."""
    return [each for each in measurement.doubts if each.about in _DISTURBANCES]


def tell_standing(measurement: Ceilings | Rates) -> None:
    """Log that a measurement of before is taken."""
    kind = "ceilings" if isinstance(measurement, Ceilings) else "rates"
    _LOGGER.info("%s of %s stand", kind, measurement.measured_at)


def is_settled(kept: Sequence[M], quick: bool = True) -> bool:
    """Whether the first of `kept` will do, or nothing better is to be had now.

    A full measurement is made once where `quick` ones do not suffice. A disturbed one is made
    again when the machine is quiet, unless it was disturbed several times already.
    """
    if not kept or (not quick and all(_is_quick(each) for each in kept)):
        return False
    if not is_disturbed(kept[0]) and (quick or not _is_quick(kept[0])):
        return True
    disturbed = [each for each in kept if is_disturbed(each)]
    return len(disturbed) >= _MOST_DISTURBED or bool(load_doubts())


def kept_doubts(measurement: Ceilings | Rates) -> list[Doubt]:
    """One doubt for whoever uses a disturbed measurement; none where it was not disturbed."""
    found = disturbances_of(measurement)
    if not found:
        return []
    about, what = "rates", "The rates that predictions are made from"
    if isinstance(measurement, Ceilings):
        about, what = "ceilings", "The ceilings"
    at = measurement.measured_at
    when = f"were measured on {at[:10]} and are" if at else "are"
    sentence = f"{what} {when} doubtful. {' '.join(each.sentence for each in found)}"
    return [Doubt(about=about, sentence=sentence, remedy=found[0].remedy)]


def _is_quick(measurement: Ceilings | Rates) -> bool:
    return isinstance(measurement, Ceilings) and measurement.quick
