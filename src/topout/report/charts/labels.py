"""Where the texts of a chart go, so that none covers another: pixels, y growing upwards."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CHARACTER = 6.1  # pixels, of the charts' 11-pixel type
LINE = 13.0
_NEAR = (0.0, 16.0, 30.0, 48.0, 70.0, 95.0)
_FAR = (125.0, 160.0, 200.0, 250.0, 310.0, 380.0)  # where all that is near is taken
_DIRECTIONS = 16
_GAP = 8.0  # between a mark and the text beside it


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle that is taken."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)

    def outside(self, width: float, height: float) -> float:
        """The area of it that lies outside a plot of this size."""
        inside = self.overlap(Box(0.0, 0.0, width, height))
        return (self.right - self.left) * (self.top - self.bottom) - inside


@dataclass(frozen=True, slots=True)
class Beside:
    """A text's place relative to its mark: offset in pixels, and whether a line joins them."""

    dx: float
    dy: float  # downwards, as screens count
    align: str  # "left": the text begins there; "right": it ends there
    leader: bool


def apart(wanted: list[float], gap: float) -> list[float]:
    """Ascending positions at least `gap` apart, each group centred on what its members wanted."""
    groups: list[list[float]] = []
    for position in wanted:
        groups.append([position])
        while len(groups) > 1 and _first(groups[-1], gap) - _last(groups[-2], gap) < gap:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_first(group, gap) + gap * place for group in groups for place in range(len(group))]


def _first(group: list[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


def _last(group: list[float], gap: float) -> float:
    return _first(group, gap) + gap * (len(group) - 1)


def text_width(text: str) -> float:
    """About how many pixels a label takes."""
    return CHARACTER * len(text)


def along(x: float, y: float, begin: float, length: float, angle: float) -> list[Box]:
    """A text of this length in a row of small boxes: it is turned by `angle` around (x, y)."""
    half = LINE / 2
    steps = max(1, math.ceil(length / LINE))
    middles = [begin + length * (step + 0.5) / steps for step in range(steps)]
    return [
        Box(
            x + u * math.cos(angle) - half,
            y + u * math.sin(angle) - half,
            x + u * math.cos(angle) + half,
            y + u * math.sin(angle) + half,
        )
        for u in middles
    ]


def stroke(first: tuple[float, float], last: tuple[float, float]) -> list[Box]:
    """A line as small boxes: a text should rather not stand on it, but may."""
    steps = max(1, math.ceil(math.dist(first, last) / 7))
    shares = [step / steps for step in range(steps + 1)]
    spots = [
        (first[0] + (last[0] - first[0]) * share, first[1] + (last[1] - first[1]) * share)
        for share in shares
    ]
    return [Box(x - 1.5, y - 1.5, x + 1.5, y + 1.5) for x, y in spots]


def along_lines(
    heights: Sequence[float],
    starts: Sequence[float],
    texts: Sequence[str],
    every: Sequence[float],
    gap: float = 18.0,
) -> list[tuple[float, bool]]:
    """Texts on parallel lines at these heights: where each begins, and whether above its line.

    A text wants to begin at `starts` and moves along its line until it is free. It stands below
    its line where another of `every` line would run through it above, unless one does so below
    as well.
    """
    taken: list[Box] = []
    placed = []
    for height, start, text in zip(heights, starts, texts, strict=True):
        over = _clearance(height, every, above=True)
        above = over >= LINE or over >= _clearance(height, every, above=False)
        bottom = height + 1.0 if above else height - LINE - 4.0
        at = start
        while (end := _blocked_until(at, bottom, text, taken)) is not None:
            at = end + gap
        taken.append(_line_box(at, bottom, text))
        placed.append((at, above))
    return placed


def _clearance(height: float, heights: Iterable[float], above: bool) -> float:
    """The distance to the next other line above or below."""
    distances = [(other - height) if above else (height - other) for other in heights]
    return min((distance for distance in distances if distance > 0), default=math.inf)


def _line_box(at: float, bottom: float, text: str) -> Box:
    return Box(at, bottom, at + text_width(text), bottom + LINE + 3.0)


def _blocked_until(at: float, bottom: float, text: str, taken: list[Box]) -> float | None:
    box = _line_box(at, bottom, text)
    return max((each.right for each in taken if each.overlap(box) > 0), default=None)


def is_free(boxes: Iterable[Box], taken: Sequence[Box]) -> bool:
    """Whether none of the boxes covers anything that is taken."""
    return not any(box.overlap(other) > 0 for box in boxes for other in taken)


def beside_marks(
    marks: Sequence[tuple[float, float]],
    texts: Sequence[str],
    lines: Iterable[Box],
    taken: Iterable[Box],
    size: tuple[float, float],
) -> list[Beside | None]:
    """A place for every mark's text: near it, inside the plot, off other texts, marks and lines.

    `lines` are the plot's own, which the lines from texts to marks may cross; `taken` is what
    no text covers. Marks in crowds go first, since they have the least choice. None where nothing
    is free, near or far: a text over another tells nothing.
    """
    strokes = list(lines)
    boxes = [*taken, *(Box(x - 5, y - 5, x + 5, y + 5) for x, y in marks)]
    crowd = [sum(math.dist(one, other) < 60 for other in marks) for one in marks]
    places: dict[int, Beside | None] = {}
    for index in sorted(range(len(marks)), key=lambda i: (-crowd[i], marks[i])):
        best = _best(marks[index], texts[index], boxes, strokes, size)
        places[index] = best.place if best else None
        if best is None:
            continue
        boxes.append(best.box)
        strokes += best.leader
    return [places[index] for index in range(len(marks))]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A place that a text could take, and what it would cover."""

    place: Beside
    box: Box
    leader: list[Box]

    def cost(self, taken: Sequence[Box], lines: Sequence[Box]) -> float:
        """Pixels of lines that it covers and of texts that its own line crosses, then distance."""
        struck = sum(self.box.overlap(each) for each in lines)
        crossed = sum(spot.overlap(each) for each in self._near(taken) for spot in self.leader)
        return 5 * struck + 4 * crossed + math.hypot(self.place.dx, self.place.dy)

    def _near(self, taken: Sequence[Box]) -> list[Box]:
        """What its line could cross."""
        if not self.leader:
            return []
        first, last = self.leader[0], self.leader[-1]
        around = Box(
            min(first.left, last.left),
            min(first.bottom, last.bottom),
            max(first.right, last.right),
            max(first.top, last.top),
        )
        return [each for each in taken if each.overlap(around) > 0]


def _best(
    mark: tuple[float, float],
    text: str,
    taken: Sequence[Box],
    lines: Sequence[Box],
    size: tuple[float, float],
) -> _Candidate | None:
    """The cheapest free place, the first of equal ones; what is far only where none is near."""
    for radii in (_NEAR, _FAR):
        reach = _reach(mark, text, radii[-1])
        within = [each for each in taken if each.overlap(reach) > 0]
        struck = [each for each in lines if each.overlap(reach) > 0]
        best: tuple[float, _Candidate] | None = None
        for radius in radii:
            if best is not None and best[0] <= radius:
                break  # no place farther off is cheaper than its distance
            for candidate in _candidates(mark, text, radius):
                if candidate.box.outside(*size) > 0 or not is_free([candidate.box], within):
                    continue
                cost = candidate.cost(within, struck)
                if best is None or cost < best[0]:
                    best = cost, candidate
        if best is not None:
            return best[1]
    return None


def _candidates(mark: tuple[float, float], text: str, radius: float) -> Iterable[_Candidate]:
    """Right and left of the mark, or on a circle around it, joined by a line."""
    width = text_width(text)
    for step in range(_DIRECTIONS if radius else 2):
        angle = math.pi * step if not radius else 2 * math.pi * step / _DIRECTIONS
        right = math.cos(angle) > -1e-9
        dx = (radius or _GAP) * math.cos(angle)
        dy = radius * math.sin(angle)
        left = mark[0] + dx + (2 if right else -2 - width)
        middle = mark[1] + dy
        box = Box(left, middle - LINE / 2, left + width, middle + LINE / 2)
        place = Beside(dx, -dy, "left" if right else "right", radius > 0)
        yield _Candidate(place, box, _leader(mark, dx, dy) if place.leader else [])


def _reach(mark: tuple[float, float], text: str, farthest: float) -> Box:
    """All that any candidate could cover."""
    x, y, radius = *mark, farthest + LINE
    width = radius + text_width(text)
    return Box(x - width, y - radius, x + width, y + radius)


def _leader(mark: tuple[float, float], dx: float, dy: float) -> list[Box]:
    """The line from beside the mark to its text."""
    skip = 6.0 / math.hypot(dx, dy)
    return stroke((mark[0] + dx * skip, mark[1] + dy * skip), (mark[0] + dx, mark[1] + dy))
