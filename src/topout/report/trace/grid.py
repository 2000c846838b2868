"""Figures of devices as grids of text: a column per device, or their mean and extremes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from topout import units

MOST_COLUMNS = 8  # devices beyond which only mean, least and most are shown


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows of text under a head; the first column names the rows."""

    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of every device; None where a device has it not."""

    name: str
    values: Sequence[float | None]
    shown: Callable[[float], str]
    wholes: Sequence[float] | None = None  # what 100 % is, of each device

    def text(self, index: int) -> str:
        """The figure of one device with its share: "450 (45 %)"."""
        value = self.values[index]
        if value is None:
            return units.ABSENT
        return self.shown(value) + self._share(value, self.wholes[index] if self.wholes else 0.0)

    def mean(self) -> str:
        """The mean over the devices that have it, with the share of all wholes."""
        known = [(i, value) for i, value in enumerate(self.values) if value is not None]
        if not known:
            return units.ABSENT
        total = sum(value for _, value in known)
        whole = sum(self.wholes[i] for i, _ in known) if self.wholes else 0.0
        return self.shown(total / len(known)) + self._share(total, whole)

    @staticmethod
    def _share(value: float, whole: float) -> str:
        return f" ({units.percent(value / whole)})" if whole > 0 else ""


def device_grid(head: str, labels: Sequence[str], measures: Sequence[Measure]) -> Grid:
    """A column for each device; of more than MOST_COLUMNS, the mean, the least and the most."""
    if len(labels) <= MOST_COLUMNS:
        return Grid(
            [head, *labels],
            [
                [measure.name, *(measure.text(index) for index in range(len(labels)))]
                for measure in measures
            ],
        )
    return Grid(
        [head, "Mean", "Least", "Most"],
        [
            [measure.name, measure.mean(), *_extremes(measure, labels)]
            for measure in measures
            if any(value is not None for value in measure.values)
        ],
    )


def every_device(head: str, labels: Sequence[str], measures: Sequence[Measure]) -> Grid:
    """A row for each device, however many there are."""
    return Grid(
        [head, *(measure.name for measure in measures)],
        [
            [label, *(measure.text(index) for measure in measures)]
            for index, label in enumerate(labels)
        ],
    )


def _extremes(measure: Measure, labels: Sequence[str]) -> tuple[str, str]:
    """The least and the most, each with its device; without it where all are alike."""
    known = [(value, index) for index, value in enumerate(measure.values) if value is not None]
    least = min(known)[1]
    most = max(known, key=lambda pair: pair[0])[1]
    if measure.text(least) == measure.text(most):
        return measure.text(least), measure.text(most)
    return (
        f"{measure.text(least)}\n{labels[least]}",
        f"{measure.text(most)}\n{labels[most]}",
    )
