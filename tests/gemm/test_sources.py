"""A user's own file: the starting point, the data type, and what is refused."""

from pathlib import Path

import pytest

from tests.gemm.own_sources import RIGHT, write_source
from topout.errors import InputError, OutputError
from topout.gemm.sources import SourceError, build_own, own_dtype, write_starting_point
from topout.gemm.trial import first_fault
from topout.kernels.gemm_ops import GemmLibrary


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_the_starting_point_is_right(tmp_path: Path, dtype: str) -> None:
    source = tmp_path / "mine.cpp"
    write_starting_point(source)
    assert own_dtype(source) == "fp32"
    if dtype != "fp32":
        text = source.read_text()
        source.write_text(
            text.replace(
                f"//   #define TOPOUT_GEMM_{dtype.upper()}", f"#define TOPOUT_GEMM_{dtype.upper()}"
            )
        )
    build = build_own(source)
    assert build.dtype == dtype
    fault = first_fault(GemmLibrary(build), 2, lambda _where, _regions: None)
    assert fault is None


def test_the_starting_point_overwrites_nothing(tmp_path: Path) -> None:
    source = write_source(tmp_path, "mine")
    with pytest.raises(OutputError, match="there already"):
        write_starting_point(source)
    assert source.read_text() == "mine"
    with pytest.raises(OutputError, match="cannot write"):
        write_starting_point(tmp_path / "no" / "folder.cpp")


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("", "fp32"),
        ("#define TOPOUT_GEMM_BF16\n", "bf16"),
        ("  #  define\tTOPOUT_GEMM_INT8 1\n", "int8"),
        ("// #define TOPOUT_GEMM_INT8\n", "fp32"),
        ("#define TOPOUT_GEMM_INT8_NOT\n", "fp32"),
    ],
)
def test_the_data_type_is_what_the_source_defines(tmp_path: Path, text: str, dtype: str) -> None:
    assert own_dtype(write_source(tmp_path, text + RIGHT)) == dtype


@pytest.mark.parametrize("name", ["missing.cpp", "folder.cpp", "python.py"])
def test_what_is_no_source_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.cpp").mkdir()
    write_source(tmp_path, RIGHT, "python.py")
    with pytest.raises(InputError, match=name):
        own_dtype(tmp_path / name)


def test_warnings_do_not_stop_a_user(tmp_path: Path) -> None:
    build_own(write_source(tmp_path, RIGHT + "static int unused;\n"))


def test_bytes_that_are_no_text_are_a_compilers_matter(tmp_path: Path) -> None:
    source = tmp_path / "binary.cpp"
    source.write_bytes(b"\xff\xfe\x00" * 100)
    with pytest.raises(SourceError) as caught:
        build_own(source)
    assert caught.value.messages
