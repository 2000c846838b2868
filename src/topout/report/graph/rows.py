"""Where the nodes inside one node stand: in rows from top to bottom, data flowing down.

Layered drawing after Sugiyama, Tagawa and Toda (1981), without its crossing reduction: the graphs
of models are a trunk with short side branches, in the order in which they ran.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

Edge = tuple[str, str]  # from, to
_WEIGHT_OF_THE_FREE = 1e-3


class Joint(NamedTuple):
    """A link between neighbouring rows; straight when `end` stands `shift` left of `start`."""

    start: str
    end: str
    shift: float


def rank_nodes(nodes: Sequence[str], edges: Sequence[Edge], ports: Sequence[str]) -> dict[str, int]:
    """The row of each node: 1 for the first; ports stand in row 0.

    A node stands under everything that feeds it; one that nothing feeds, just over the first that
    it feeds. `nodes` are in an order in which each comes after what feeds it.
    """
    sources: dict[str, list[str]] = {node: [] for node in nodes}
    targets: dict[str, list[str]] = {node: [] for node in nodes}
    for start, end in edges:
        sources[end].append(start)
        if start in targets:
            targets[start].append(end)
    ranks = dict.fromkeys(ports, 0)
    for node in nodes:
        ranks[node] = 1 + max((ranks[source] for source in sources[node]), default=0)
    for node in reversed(nodes):
        if not sources[node] and targets[node]:
            ranks[node] = max(1, min(ranks[target] for target in targets[node]) - 1)
    return ranks


def place_in_rows(
    rows: Sequence[Sequence[str]],
    reach: Mapping[str, tuple[float, float]],
    joints: Sequence[Joint],
    gap: float,
) -> dict[str, float]:
    """The x of each node's axis: 0 where it is alone in its row, so that the trunk is straight.

    Nodes that share a row stand near what they are joined to. `reach`: how far a node extends
    left and right of its axis; `gap` is kept between them; `joints` are the links between
    neighbouring rows. Nodes of a row keep their order.
    """
    x = dict.fromkeys((each.start for each in joints), 0.0)  # of ports, which are in no row
    for row in rows:
        x |= dict(zip(row, _side_by_side(row, reach, gap), strict=True))
    shared = [row for row in rows if len(row) > 1]
    # Down, up for what nothing feeds, and down again.
    for downward in (True, False, True):
        for row in shared if downward else shared[::-1]:
            wanted = [_wanted(node, x, joints, downward) for node in row]
            x |= dict(zip(row, _apart(row, wanted, reach, gap), strict=True))
    return x


def _wanted(
    node: str, x: Mapping[str, float], joints: Sequence[Joint], downward: bool
) -> tuple[float, float]:
    """Where a node would stand right under what feeds it, or over what it feeds; and how much so.

    A node without such a neighbour makes room for the others.
    """
    if downward:
        places = [x[each.start] - each.shift for each in joints if each.end == node]
    else:
        places = [x[each.end] + each.shift for each in joints if each.start == node]
    return (sum(places) / len(places), 1.0) if places else (x[node], _WEIGHT_OF_THE_FREE)


def _side_by_side(
    row: Sequence[str], reach: Mapping[str, tuple[float, float]], gap: float
) -> list[float]:
    """Axes of nodes in a row that is centred on 0."""
    if len(row) == 1:
        return [0.0]
    axes, right = [], 0.0
    for node in row:
        axes.append(right + reach[node][0])
        right += sum(reach[node]) + gap
    return [axis - (right - gap) / 2 for axis in axes]


def _apart(
    row: Sequence[str],
    wanted: Sequence[tuple[float, float]],
    reach: Mapping[str, tuple[float, float]],
    gap: float,
) -> list[float]:
    """The axes nearest to those wanted, by least squares with weights, that keep nodes apart.

    Isotonic regression by pooling: with the room that a node's predecessors take subtracted,
    the order of the row is all that is asked for.
    """
    offsets, offset = [], 0.0
    for position, node in enumerate(row):
        if position:
            offset += reach[row[position - 1]][1] + gap + reach[node][0]
        offsets.append(offset)
    pools: list[tuple[float, float, int]] = []  # mean, weight, size
    for (want, weight), taken in zip(wanted, offsets, strict=True):
        pools.append((want - taken, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, v, m), (b, w, n) = pools[-2:]
            pools[-2:] = [((a * v + b * w) / (v + w), v + w, m + n)]
    means = [mean for mean, _, size in pools for _ in range(size)]
    return [mean + taken for mean, taken in zip(means, offsets, strict=True)]
