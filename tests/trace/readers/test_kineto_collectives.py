"""What a collective on the host moves, by the shapes of what it was given."""

import pytest

from topout.trace.readers.kineto_collectives import message_of


@pytest.mark.parametrize(
    ("shapes", "types", "message"),
    [
        ("[[9610]]", '["float"]', (9610, "float")),
        ("[[2, 3], [4], []]", '["int", "int", ""]', (10, "int")),
        ("[[], [], []]", '["float", "", "Scalar"]', (1, "float")),  # a tensor of one number
        ("[[[5], [2, 2]]]", '["TensorList"]', (9, None)),
        ("[]", "[]", (0, None)),
        (None, None, None),
        ("[[1, null]]", "[]", None),
        ("7", "[]", None),
    ],
)
def test_messages_by_their_shapes(
    shapes: str | None, types: str | None, message: tuple[int, str | None] | None
) -> None:
    assert message_of(shapes, types) == message
