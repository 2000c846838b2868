"""Rows of a layered drawing."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from topout.report.graph.rows import Joint, place_in_rows, rank_nodes


def test_a_node_stands_under_all_that_feeds_it() -> None:
    ranks = rank_nodes(["a", "b", "c"], [("^0", "a"), ("a", "b"), ("a", "c"), ("b", "c")], ["^0"])
    assert ranks == {"^0": 0, "a": 1, "b": 2, "c": 3}


def test_what_nothing_feeds_stands_just_over_what_it_feeds() -> None:
    ranks = rank_nodes(["a", "free", "b", "c"], [("a", "b"), ("b", "c"), ("free", "c")], [])
    assert ranks["free"] == 2


@given(
    st.lists(
        st.lists(st.tuples(st.floats(1, 200), st.floats(1, 200)), min_size=1, max_size=4),
        min_size=1,
        max_size=5,
    ),
    st.data(),
)
def test_nodes_of_a_row_never_touch(
    sizes: list[list[tuple[float, float]]], data: st.DataObject
) -> None:
    rows = [[f"{r}.{n}" for n in range(len(row))] for r, row in enumerate(sizes)]
    reach = {f"{r}.{n}": size for r, row in enumerate(sizes) for n, size in enumerate(row)}
    joints = [
        Joint(data.draw(st.sampled_from(above)), node, data.draw(st.floats(-50, 50)))
        for above, row in itertools.pairwise(rows)
        for node in row
    ]
    x = place_in_rows(rows, reach, joints, gap=10)
    for row in rows:
        for left, right in itertools.pairwise(row):
            assert x[right] - reach[right][0] - (x[left] + reach[left][1]) >= 10 - 1e-6
        if len(row) == 1:
            assert x[row[0]] == 0


def test_what_one_node_feeds_stands_on_both_sides_of_it() -> None:
    rows = [["a"], ["b", "c", "d"]]
    reach = {node: (10.0, 10.0) for row in rows for node in row}
    x = place_in_rows(rows, reach, [Joint("a", node, 0.0) for node in rows[1]], gap=5)
    assert [x["b"], x["c"], x["d"]] == [-25.0, 0.0, 25.0]
