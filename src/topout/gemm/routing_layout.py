"""How a product of matrices in any layout becomes one of row-major matrices, with least copying.

The versions read A and B by rows. PyTorch hands them transposed views all the time: the weight of
nn.Linear [n, k] comes as its transpose, and autograd transposes either side. Transposing the whole
product helps then: Cᵀ[n×m] = Bᵀ[n×k] · Aᵀ[k×m], since the rows of Bᵀ are the columns of B.
"""

from typing import NamedTuple

from torch import Tensor


class Layout(NamedTuple):
    """How to compute a product, and what has to be copied for it."""

    flipped: bool  # compute Cᵀ = Bᵀ·Aᵀ
    copies_a: bool
    copies_b: bool
    copies_c: bool

    @property
    def copied(self) -> str:
        """The matrices that are copied: "", "B", "A and C"."""
        names = zip("ABC", (self.copies_a, self.copies_b, self.copies_c), strict=True)
        return " and ".join(name for name, is_copied in names if is_copied)


def is_row_major(matrix: Tensor) -> bool:
    """Whether each row [n] lies in one piece, and the next one behind it."""
    return _is_by_rows(*matrix.shape, *matrix.stride())


def is_column_major(matrix: Tensor) -> bool:
    """Whether the transpose is row-major; a matrix of one row or column can be both."""
    (rows, columns), (down, across) = matrix.shape, matrix.stride()
    return _is_by_rows(columns, rows, across, down)


def _is_by_rows(rows: int, columns: int, down: int, across: int) -> bool:
    # The stride along an axis of one element says nothing.
    return (columns == 1 or across == 1) and (rows == 1 or down >= columns)


def leading_dimension(row_major: Tensor) -> int:
    """Elements from one row of a row-major matrix to the next."""
    rows, columns = row_major.shape
    return row_major.stride(0) if rows > 1 else columns


def choose_layout(a: Tensor, b: Tensor) -> Layout:
    """The way to compute a[m×k] · b[k×n] into a row-major C that copies the fewest elements."""
    (m, k), n = a.shape, b.shape[1]
    straight = Layout(False, not is_row_major(a), not is_row_major(b), False)
    if not (straight.copies_a or straight.copies_b):
        return straight
    # A C of one row or one column is the same in memory as its transpose.
    flips_freely = m == 1 or n == 1
    flipped = Layout(True, not is_column_major(a), not is_column_major(b), not flips_freely)
    sizes = (m * k, k * n, m * n)

    def copied_elements(layout: Layout) -> int:
        return sum(size for size, copied in zip(sizes, layout[1:], strict=True) if copied)

    return min((straight, flipped), key=copied_elements)
