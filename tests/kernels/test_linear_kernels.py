"""The native linear layers by themselves: right, to the bit, and within their memory."""

from pathlib import Path

import pytest

from topout.kernels.build import SOURCE_FOLDER

from . import native_driver
from .native_driver import AVX2, NATIVE, PORTABLE, Outcome, Target

pytestmark = pytest.mark.seconds(100)

LINEAR = SOURCE_FOLDER / "linear.cpp"
DRIVER = Path(__file__).with_name("linear_driver.cpp")
BROKEN = Path(__file__).with_name("broken_linear.cpp")
INCLUDE = f"-I{SOURCE_FOLDER}"
# Faster, and what the sanitizers would find in it is the driver's own.
PLAIN = ("-O2", "-fno-sanitize=all")
HALF = Target(
    "vectors of 32 bytes", (*NATIVE.flags, "-DTOPOUT_VECTOR_BYTES=32"), frozenset({"avx2"})
)
TARGETS = [NATIVE, HALF, AVX2, PORTABLE]
MISTAKES = native_driver.mistakes_in(BROKEN)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver compiled, to be linked with one build of the layers after another."""
    native_driver.compiler_with_openmp()
    output = tmp_path_factory.mktemp("linear_driver") / "driver.o"
    return native_driver.build([DRIVER], output, "-c", INCLUDE, *PLAIN)


@pytest.fixture(scope="module")
def outcomes(driver: Path) -> dict[str, Outcome]:
    """How the driver ended on each target that this CPU runs."""

    def outcome(target: Target) -> Outcome:
        output = driver.with_name(target.name.replace(" ", "_"))
        program = native_driver.build([LINEAR, driver], output, INCLUDE, *target.flags)
        return native_driver.run(program)

    targets = [target for target in TARGETS if native_driver.runs_here(target)]
    found = native_driver.side_by_side(outcome, targets)
    return {target.name: each for target, each in zip(targets, found, strict=True)}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_layers_are_right(target: Target, outcomes: dict[str, Outcome]) -> None:
    if target.name not in outcomes:
        pytest.skip(f"this CPU lacks {', '.join(sorted(target.needs))}")
    assert outcomes[target.name].all_right, outcomes[target.name]


def test_the_bits_agree_as_the_layers_are_shipped(driver: Path, tmp_path: Path) -> None:
    """Optimized as for use, where a compiler fuses and unrolls each tile in its own way."""
    flags = ("-O3", "-fno-sanitize=all", INCLUDE, *NATIVE.flags)
    program = native_driver.build([LINEAR, driver], tmp_path / "shipped", *flags)
    found = native_driver.run(program)
    assert found.all_right, found


def test_the_driver_refuses_every_mistake(driver: Path, tmp_path: Path) -> None:
    program = native_driver.build([BROKEN, driver], tmp_path / "broken", INCLUDE, *PLAIN)
    outcomes = native_driver.mistaken(program, MISTAKES)
    assert len(MISTAKES) >= 7
    assert native_driver.run(program).all_right
    assert [name for name, found in outcomes.items() if "FAILED: " not in found.output] == []
    assert all(found.status == 1 for found in outcomes.values())
