"""Every version of the matrix product by itself: right, within its memory, and in registers."""

import platform
import re
import shutil
from pathlib import Path

import pytest

from topout.gemm.case import VERSIONS, Version
from topout.gemm.instruction_mix import main_loop
from topout.kernels.build import SOURCE_FOLDER, build_library
from topout.kernels.gemm_ops import GEMM_FOLDER, GemmDtype

from . import native_driver
from .native_driver import AVX2, NATIVE, PORTABLE, Target

pytestmark = pytest.mark.seconds(40)

# Not on the ladder: what `topout gemm init` writes, which is to be right as well.
STARTING_POINT = Version("starting_point", "fp32", "A file of one's own, before any change.")
DRIVER = Path(__file__).with_name("gemm_driver.cpp")
BROKEN = Path(__file__).with_name("broken_gemm.cpp")
INCLUDES = (f"-I{GEMM_FOLDER}", f"-I{SOURCE_FOLDER}")
DTYPE_FLAGS: dict[GemmDtype, tuple[str, ...]] = {
    "fp32": (),
    "bf16": ("-DTOPOUT_GEMM_BF16",),
    "int8": ("-DTOPOUT_GEMM_INT8",),
}
MISTAKES = native_driver.mistakes_in(BROKEN)
# Mistakes that leave every result right, and are seen in memory alone.
ADDRESS_SANITIZER = {
    "PACKS_NOTHING": "heap-use-after-free",
    "READS_BEYOND_A": "heap-buffer-overflow",
    "WRITES_BEYOND_C": "heap-buffer-overflow",
}


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> dict[GemmDtype, Path]:
    """The driver compiled for each data type, to be linked with one version after another."""
    native_driver.compiler_with_openmp()
    folder = tmp_path_factory.mktemp("drivers")

    def compile_driver(dtype: GemmDtype) -> Path:
        flags = ("-c", *INCLUDES, *DTYPE_FLAGS[dtype])
        return native_driver.build([DRIVER], folder / f"{dtype}.o", *flags)

    objects = native_driver.side_by_side(compile_driver, DTYPE_FLAGS)
    return dict(zip(DTYPE_FLAGS, objects, strict=True))


def source_of(version: Version) -> Path:
    return GEMM_FOLDER / f"{version.name}.cpp"


def test_every_version_has_a_file_and_every_file_a_version() -> None:
    defining = {
        file.stem
        for file in GEMM_FOLDER.glob("*.cpp")
        if re.search(r"^void gemm\(", file.read_text(), re.MULTILINE)
    }
    assert defining == {version.name for version in (*VERSIONS, STARTING_POINT)}


@pytest.mark.parametrize("version", [*VERSIONS, STARTING_POINT], ids=lambda version: version.name)
def test_a_version_is_right_on_every_target(
    version: Version, drivers: dict[GemmDtype, Path], tmp_path: Path
) -> None:
    def outcome(target: Target) -> native_driver.Outcome:
        sources = [source_of(version), drivers[version.dtype]]
        flags = (*INCLUDES, *DTYPE_FLAGS[version.dtype], *target.flags)
        return native_driver.run(native_driver.build(sources, tmp_path / target.name, *flags))

    targets = [target for target in (NATIVE, AVX2, PORTABLE) if native_driver.runs_here(target)]
    for target, found in zip(targets, native_driver.side_by_side(outcome, targets), strict=True):
        assert found.all_right, f"{version.name}, {target.name}: {found}"


def test_the_driver_refuses_every_mistake(drivers: dict[GemmDtype, Path], tmp_path: Path) -> None:
    program = native_driver.build([BROKEN, drivers["fp32"]], tmp_path / "broken", *INCLUDES)
    outcomes = native_driver.mistaken(program, MISTAKES)
    assert len(MISTAKES) >= 13
    assert native_driver.run(program).all_right
    assert [name for name, found in outcomes.items() if found.all_right] == []
    assert "C[0][0] is -nan instead of 0" in outcomes["READS_C"].output
    assert "something outside of C was written" in outcomes["BESIDE"].output
    for name, complaint in ADDRESS_SANITIZER.items():
        assert f"AddressSanitizer: {complaint}" in outcomes[name].complaints, outcomes[name]


@pytest.mark.parametrize("target", [NATIVE, AVX2, PORTABLE], ids=lambda target: target.name)
def test_the_sums_of_the_micro_kernel_stay_in_registers(target: Target) -> None:
    """See the note on unrolling in simd.cpp: a small change may send them through the stack."""
    native_driver.compiler_with_openmp()
    if shutil.which("objdump") is None:
        pytest.skip("objdump is not installed")
    if target.needs and platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip(f"{target.name} is of another architecture")
    library = build_library(
        "simd", [GEMM_FOLDER / "simd.cpp"], ("-fopenmp",), target.flags, [GEMM_FOLDER]
    )
    loop = main_loop(library)
    assert "multiply_tile" in loop.mix.function
    assert loop.mix.stack_references == 0
    assert loop.chained == 1  # as many sums as multiply-adds: none waits for another
