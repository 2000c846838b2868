"""Where the nodes inside one node stand: in rows from top to bottom, data flowing down.

Layered drawing after Sugiyama, Tagawa and Toda (1981), without its crossing reduction: the graphs
of models are a trunk with short side branches, in the order in which they ran.
"""

from collections.abc import Mapping, Sequence

Edge = tuple[str, str]  # from, to


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
    neighbours: Mapping[str, Sequence[str]],
    gap: float,
) -> dict[str, float]:
    """The x of each node's axis, so that what is joined stands above each other.

    `reach`: how far a node extends left and right of its axis; `gap` is kept between them. Nodes
    of a row keep their order.
    """
    x: dict[str, float] = {}
    for row in rows:
        wanted = _side_by_side(row, reach, gap)
        x |= dict(zip(row, wanted, strict=True))
    for sweep in range(8):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            wanted = [_mean([x[n] for n in neighbours[node]], x[node]) for node in row]
            x |= dict(zip(row, _apart(row, wanted, reach, gap), strict=True))
    return x


def _side_by_side(
    row: Sequence[str], reach: Mapping[str, tuple[float, float]], gap: float
) -> list[float]:
    """Axes of nodes in a row that is centred on 0."""
    axes, right = [], 0.0
    for node in row:
        axes.append(right + reach[node][0])
        right += sum(reach[node]) + gap
    return [axis - (right - gap) / 2 for axis in axes]


def _apart(
    row: Sequence[str],
    wanted: Sequence[float],
    reach: Mapping[str, tuple[float, float]],
    gap: float,
) -> list[float]:
    """The axes nearest to those wanted, by least squares, that keep the nodes apart.

    Isotonic regression by pooling: with the room that a node's predecessors take subtracted,
    the order of the row is all that is asked for.
    """
    offsets, offset = [], 0.0
    for position, node in enumerate(row):
        if position:
            offset += reach[row[position - 1]][1] + gap + reach[node][0]
        offsets.append(offset)
    pools: list[tuple[float, int]] = []  # mean, size
    for want, taken in zip(wanted, offsets, strict=True):
        pools.append((want - taken, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (low, m), (high, n) = pools[-2:]
            pools[-2:] = [((low * m + high * n) / (m + n), m + n)]
    means = [mean for mean, size in pools for _ in range(size)]
    return [mean + taken for mean, taken in zip(means, offsets, strict=True)]


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
