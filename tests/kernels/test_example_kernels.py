"""The examples' kernels do what they count, compared with numpy."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from topout.errors import InputError
from topout.kernels import ops
from topout.kernels.build import SOURCE_FOLDER
from topout.kernels.ops import ThreadTeam

from .sanitized import SANITIZERS, check_sanitized

EXAMPLES = SOURCE_FOLDER / "examples.cpp"
DRIVER = Path(__file__).with_name("examples_driver.cpp")


@pytest.fixture
def team() -> Iterator[ThreadTeam]:
    with ThreadTeam(2) as threads:
        yield threads


def filled(team: ThreadTeam, shape: tuple[int, ...], seed: int) -> ops.Doubles:
    data = np.empty(shape)
    ops.fill_doubles(team, data, seed)
    return data


def test_the_seam_names_every_native_function() -> None:
    exported = set(re.findall(r"\b(topout_[a-z_]+)\(", EXAMPLES.read_text()))
    assert exported == set(ops._EXAMPLES_ABI)


def test_the_data_is_random_and_the_same_for_any_number_of_threads(team: ThreadTeam) -> None:
    data = filled(team, (1001,), 1)
    with ThreadTeam(1) as alone:
        assert np.array_equal(data, filled(alone, (1001,), 1))
    assert data.min() >= 0.5
    assert data.max() < 1.5
    assert len(np.unique(data)) == data.size
    assert not np.array_equal(data, filled(team, (1001,), 2))
    assert abs(data.mean() - 1.0) < 0.05  # 1001 values of 0.5 … 1.5: their mean is 1 ± 0.009


@pytest.mark.parametrize("n", [1, 2, 3, 1000, 4099])
def test_axpy(team: ThreadTeam, n: int) -> None:
    x, y = filled(team, (n,), 1), filled(team, (n,), 2)
    expected = y + 0.75 * x
    assert ops.axpy_seconds(team, 0.75, x, y, passes=1) > 0
    np.testing.assert_allclose(y, expected, rtol=1e-15)
    before = y.copy()
    ops.axpy_seconds(team, 0.75, x, y, passes=4)  # + − + −
    np.testing.assert_allclose(y, before, rtol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_the_stencil(team: ThreadTeam, n: int) -> None:
    grid, out = filled(team, (n + 2,) * 3, 1), np.zeros((n + 2,) * 3)
    assert ops.stencil_seconds(team, grid, out, passes=2) > 0
    expected = np.zeros_like(out)
    inner = (slice(1, -1),) * 3
    total = grid[inner].copy()
    for axis in range(3):
        total += np.roll(grid, 1, axis)[inner] + np.roll(grid, -1, axis)[inner]
    expected[inner] = total / 7
    np.testing.assert_allclose(out, expected, rtol=1e-15, atol=0)


def test_other_shapes_and_types_are_refused(team: ThreadTeam) -> None:
    x = np.ones(8)
    with pytest.raises(InputError, match="shapes"):
        ops.axpy_seconds(team, 1.0, x, np.ones(9), passes=1)
    with pytest.raises(InputError, match="float32"):
        ops.axpy_seconds(team, 1.0, x.astype(np.float32), x, passes=1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="strides"):
        ops.fill_doubles(team, np.ones(16)[::2], 1)
    read_only = np.ones(8)
    read_only.flags.writeable = False
    with pytest.raises(InputError, match="array"):
        ops.fill_doubles(team, read_only, 1)
    for shape in ((4, 4), (4, 4, 5), (2, 2, 2)):
        with pytest.raises(InputError, match="cubes"):
            ops.stencil_seconds(team, np.ones(shape), np.ones(shape), passes=1)
    closed = ThreadTeam(1)
    closed.close()
    with pytest.raises(InputError, match="closed"):
        ops.fill_doubles(closed, x, 1)


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_sanitizers_find_nothing(sanitizer: str, tmp_path: Path) -> None:
    ceilings = SOURCE_FOLDER / "ceilings.cpp"
    check_sanitized([EXAMPLES, ceilings, DRIVER], sanitizer, tmp_path)
