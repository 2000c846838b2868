"""The list of versions and the files behind it."""

import pytest

from topout.errors import UnknownNameError
from topout.gemm.versions import VERSIONS, find_version, version_names
from topout.kernels.gemm_ops import GEMM_FOLDER


def test_the_ladder_stands_in_the_order_in_which_it_teaches() -> None:
    assert version_names("fp32") == [
        "naive",
        "loop_order",
        "tiled",
        "packed",
        "simd",
        "threaded",
        "prepacked",
    ]
    assert version_names("bf16") == ["bf16"] and version_names("int8") == ["int8"]
    assert len(set(version_names())) == len(VERSIONS)


@pytest.mark.parametrize("name", version_names())
def test_every_version_has_its_file_and_a_sentence(name: str) -> None:
    assert (GEMM_FOLDER / f"{name}.cpp").is_file()
    assert find_version(name).change.endswith(".")


def test_an_unknown_version_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean naive"):
        find_version("naiv")
