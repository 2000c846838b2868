"""The inside of one frame: its nodes in rows, and the ways of data between them.

A line to the next row bends within the gap between the rows. A longer one, such as a residual
connection, runs down a lane beside the rows that it passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from topout.report.graph.rows import Joint, place_in_rows, rank_nodes

Point = tuple[float, float]

ROW_GAP, NODE_GAP = 38.0, 26.0
_LANE_GAP, _LEAST_LANE_GAP, _LANE_STEP = 20.0, 10.0, 12.0
_TURN = 13.0  # how far from a row a line turns aside
_FAN = 18.0  # what a fan of lines takes under a frame's name
_PORT_GAP = 22.0
_OUT = ""


@dataclass(slots=True)
class Item:
    """A node's size around its axis, and where data comes in and goes out, from the axis."""

    id: str
    left: float
    right: float
    height: float
    out: float = 0.0
    ports: dict[int, float] = field(default_factory=dict)  # empty: spread over `span`
    from_side: bool = False  # a line from beside may come in there
    span: float = 0.0
    sheets: float = 0.0  # of the height and the right: what is drawn behind


@dataclass(frozen=True, slots=True)
class Link:
    """From a node, or a port of the frame ("^0"), to port `port` of a node; "": out of it."""

    start: str
    end: str
    port: int


@dataclass(slots=True)
class Route:
    """A way with its corners; `curved`: bent between the second and the third of four points."""

    start: str
    end: str
    points: list[Point]
    curved: bool


@dataclass(slots=True)
class Arranged:
    """Where everything is; x from the arrangement's own 0, y from the frame's upper edge."""

    left: float
    right: float
    height: float
    out: float
    places: dict[str, Point]  # of each node: its axis, its upper edge
    ports: dict[str, Point]
    routes: list[Route]


def arrange(
    items: Sequence[Item],
    links: Sequence[Link],
    ports: Sequence[str],
    outputs: Sequence[str],
    top: float,
    foot: float,
    head: float = 0.0,
    last: Sequence[str] = (),
) -> Arranged:
    """Places for `items`, each of which comes after what feeds it.

    `top` and `foot` are what is left free over the first and under the last row; within `head` of
    the upper edge lines run straight. `last` nodes stand in the last row.
    """
    all_links = [*links, *(Link(source, _OUT, 0) for source in outputs)]
    return _Arrangement(items, all_links, ports, top, foot, head, last).result()


class _Arrangement:
    def __init__(
        self,
        items: Sequence[Item],
        links: Sequence[Link],
        ports: Sequence[str],
        top: float,
        foot: float,
        head: float,
        last: Sequence[str],
    ) -> None:
        self.items = {item.id: item for item in items}
        self.links = links
        self.ports = ports
        inner = [(link.start, link.end) for link in links if link.end != _OUT]
        self.fed = {end for _, end in inner}
        self.ranks = rank_nodes(list(self.items), inner, ports)
        self.last = max((self.ranks[node] for node in self.items), default=0) + 1
        for node in last:
            self.ranks[node] = self.last - 1
        self.ranks[_OUT] = self.last
        self.rows = [
            [node for node in self.items if self.ranks[node] == rank]
            for rank in range(1, self.last)
        ]
        fans_out = any(sum(start == port for start, _ in inner) > 1 for port in ports)
        self._set_heights(top + _FAN * fans_out, foot, head)
        self._set_axes()
        self.lanes = self._lanes()
        self.port_x = self._place_ports()

    def _set_heights(self, top: float, foot: float, head: float) -> None:
        """`row_top[r]` and `row_bottom[r]` for each rank; rank 0 is the frame's name."""
        self.row_top, self.row_bottom, y = [0.0], [head], top
        for row in self.rows:
            tall = max(self.items[node].height for node in row)
            self.row_top.append(y)
            self.row_bottom.append(y + tall)
            y += tall + ROW_GAP
        self.height = (self.row_bottom[-1] if self.rows else top) + foot
        self.row_top.append(self.height)

    def _set_axes(self) -> None:
        joints = [
            Joint(
                link.start,
                link.end,
                self.items[link.end].ports.get(link.port, 0.0) - self._out_of(link.start),
            )
            for link in self.links
            if self._is_short(link)
            and link.end in self.items
            and not self._is_side_port(link.start)
        ]
        reach = {node: (item.left, item.right) for node, item in self.items.items()}
        self.x = place_in_rows(self.rows, reach, joints, NODE_GAP)
        self._order_rows_by_targets()
        self.x = place_in_rows(self.rows, reach, joints, NODE_GAP)
        self.y = {
            node: self._top_in_row(node, row, rank)
            for rank, row in enumerate(self.rows, start=1)
            for node in row
        }
        leaving = [self._out_x(link.start) for link in self.links if link.end == _OUT]
        self.out = leaving[0] if leaving else 0.0

    def _order_rows_by_targets(self) -> None:
        """Where a node that nothing feeds stands in a row, the row goes in the order of targets."""

        def target_x(node: str) -> float:
            fed = [
                self.x[link.end] + self.items[link.end].ports.get(link.port, 0.0)
                for link in self.links
                if link.start == node and link.end != _OUT
            ]
            return sum(fed) / len(fed) if fed else self.x[node]

        for row in self.rows:
            if not self.fed.issuperset(row):
                row.sort(key=target_x)

    def _top_in_row(self, node: str, row: Sequence[str], rank: int) -> float:
        spare = self.row_bottom[rank] - self.row_top[rank] - self.items[node].height
        return self.row_top[rank] + (spare / 2 if node in self.fed else spare)

    def _out_x(self, node: str) -> float:
        return self.x[node] + self._out_of(node) if node in self.items else 0.0

    def _out_of(self, node: str) -> float:
        return self.items[node].out if node in self.items else 0.0

    def _is_short(self, link: Link) -> bool:
        return self.ranks[link.end] - self.ranks[link.start] == 1

    def _lanes(self) -> dict[str, float]:
        """The x of the lane of each node or port whose data passes a row."""
        ends: dict[str, int] = {}
        for link in self.links:
            if not self._is_short(link):
                ends[link.start] = max(ends.get(link.start, 0), self.ranks[link.end])
        lanes: dict[str, float] = {}
        taken: list[_Lane] = []
        # Residual connections go first and to the right; side inputs go where these do not.
        for start in sorted(ends, key=lambda each: (self._is_side_port(each), ends[each])):
            span, from_side = (self.ranks[start], ends[start]), self._is_side_port(start)
            has_residual = any(not lane.from_side and lane.overlaps(span) for lane in taken)
            side = -1 if from_side and has_residual else 1
            lanes[start] = self._lane_x(start, side, span, taken)
            taken.append(_Lane(side, *span, lanes[start], from_side))
        return lanes

    def _is_side_port(self, start: str) -> bool:
        return start.startswith("^") and start != "^0"

    def _lane_x(
        self, start: str, side: int, span: tuple[int, int], taken: Sequence["_Lane"]
    ) -> float:
        """The nearest x on that side of all nodes in the rows passed, apart from other lanes."""
        passed = [node for rank in range(span[0] + 1, span[1]) for node in self.rows[rank - 1]]
        edges = [
            self.x[node] + (self.items[node].right if side > 0 else -self.items[node].left)
            for node in passed
        ]
        edge = max(side * edge for edge in edges)
        x = side * (edge + _LANE_GAP)
        if start in self.items and side * self._out_x(start) >= edge + _LEAST_LANE_GAP:
            x = self._out_x(start)  # straight down
        beside = [lane for lane in taken if lane.side == side and lane.overlaps(span)]
        for other in sorted(beside, key=lambda lane: side * lane.x):
            if abs(x - other.x) < _LANE_STEP:
                x = other.x + side * _LANE_STEP
        return x

    def _place_ports(self) -> dict[str, float]:
        """Ports stand over what they feed in the first row, else over their lane."""
        x: dict[str, float] = {}
        for port in self.ports:
            fed = [
                self.x[link.end] + self._port_offset(link)
                for link in self.links
                if link.start == port and self._is_short(link) and link.end != _OUT
            ]
            x[port] = sum(fed) / len(fed) if fed else self.lanes.get(port, self.out)
        fixed: list[float] = []
        for port in sorted(x, key=lambda each: (each != "^0", each in self.lanes)):
            while any(abs(x[port] - other) < _PORT_GAP for other in fixed):
                x[port] += _PORT_GAP if x[port] >= x.get("^0", 0.0) else -_PORT_GAP
            fixed.append(x[port])
        return x

    def _port_offset(self, link: Link) -> float:
        """Where a link comes in, from the axis of its end."""
        item = self.items[link.end]
        if item.ports:
            return item.ports[link.port]
        if not item.span:
            return 0.0
        arriving = [each for each in self.links if each.end == link.end]
        arriving.sort(key=self._comes_from)
        place = (arriving.index(link) + 1) / (len(arriving) + 1) - 0.5
        return item.span * place if len(arriving) > 1 else 0.0

    def _comes_from(self, link: Link) -> float:
        """The x that a link comes down at, as far as it is known while ports are placed."""
        if not self._is_short(link):
            return self.lanes.get(link.start, 0.0)
        if link.start in self.items:
            return self._out_x(link.start)
        return float(self.ports.index(link.start)) - len(self.ports) / 2

    def result(self) -> Arranged:
        lefts = [self.x[node] - item.left for node, item in self.items.items()]
        rights = [self.x[node] + item.right for node, item in self.items.items()]
        others = [*self.lanes.values(), *self.port_x.values()]
        return Arranged(
            left=min([*lefts, *others], default=0.0),
            right=max([*rights, *others], default=0.0),
            height=self.height,
            out=self.out,
            places={node: (self.x[node], self.y[node]) for node in self.items},
            ports={port: (x, 0.0) for port, x in self.port_x.items()},
            routes=[self._route(link) for link in self.links],
        )

    def _route(self, link: Link) -> Route:
        start, rank = self._start(link.start), self.ranks[link.start]
        end = self._end(link)
        if self._is_short(link):
            target = self.ranks[link.end]
            first = (start[0], max(self.row_bottom[rank], start[1]))
            second = (end[0], min(self.row_top[target], end[1]))
            return Route(link.start, link.end, [start, first, second, end], True)
        lane = self.lanes[link.start]
        points = [start]
        if abs(lane - start[0]) > 1:
            turn = self._turn_y(link.start, rank)
            points += [(start[0], turn), (lane, turn)]
        if link.end in self.items and self._can_enter_beside(link, lane):
            item = self.items[link.end]
            half = item.right - item.sheets if lane > self.x[link.end] else -item.left
            middle = self.y[link.end] + (item.height - item.sheets) / 2
            points += [(lane, middle), (self.x[link.end] + half, middle)]
        else:
            turn = self.row_top[self.ranks[link.end]] - _TURN
            points += [(lane, turn), (end[0], turn), end]
        return Route(link.start, link.end, points, False)

    def _turn_y(self, start: str, rank: int) -> float:
        """Where a line turns aside: under its row; under a port, over the first row."""
        return self.row_bottom[rank] + _TURN if rank else self.row_top[1] - _TURN / 2

    def _start(self, node: str) -> Point:
        if node in self.items:
            item = self.items[node]
            return self._out_x(node), self.y[node] + item.height - item.sheets
        return self.port_x[node], 0.0

    def _end(self, link: Link) -> Point:
        if link.end == _OUT:
            return self.out, self.height
        return self.x[link.end] + self._port_offset(link), self.y[link.end]

    def _can_enter_beside(self, link: Link, lane: float) -> bool:
        """Whether a sign in a circle can be reached in its row without crossing another node."""
        if not self.items[link.end].from_side:
            return False
        low, high = sorted((lane, self.x[link.end]))
        others = (
            (self.x[node] - self.items[node].left, self.x[node] + self.items[node].right)
            for node in self.rows[self.ranks[link.end] - 1]
            if node != link.end
        )
        return not any(left < high and low < right for left, right in others)


@dataclass(frozen=True, slots=True)
class _Lane:
    """A lane on one side (1: right, -1: left) of the rows between `first` and `last`."""

    side: int
    first: int
    last: int
    x: float
    from_side: bool

    def overlaps(self, span: tuple[int, int]) -> bool:
        return self.first < span[1] and span[0] < self.last
