"""The request: what is meant by default, and what cannot be meant."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.errors import InputError, UnknownNameError
from topout.gemm.request import GemmRequest
from topout.gemm.shapes import Shape
from topout.gemm.versions import version_names


def test_by_default_one_square_product_on_all_cpus() -> None:
    request = GemmRequest()
    request.check()
    assert request.chosen_shapes() == (None, [Shape(1024, 1024, 1024)])
    assert request.chosen_threads(6) == [6]
    assert request.chosen_dtypes() == ["fp32"]
    assert request.chosen_versions() == version_names("fp32")


def test_versions_bring_their_data_types() -> None:
    request = GemmRequest(versions=["int8", "naive", "bf16"])
    request.check()
    assert request.chosen_dtypes() == ["fp32", "bf16", "int8"]
    assert request.chosen_versions() == ["naive", "bf16", "int8"]


def test_data_types_bring_their_versions() -> None:
    assert GemmRequest(dtypes=["bf16"]).chosen_versions() == ["bf16"]


def test_a_source_brings_the_data_type_that_it_is_written_for(tmp_path: Path) -> None:
    source = tmp_path / "mine.cpp"
    source.write_text('#define TOPOUT_GEMM_BF16\n#include "gemm.h"\n')
    request = GemmRequest(source=str(source))
    request.check()
    assert request.chosen_dtypes() == ["bf16"]


def test_shapes_of_all_kinds_together_each_once() -> None:
    request = GemmRequest(shapes=["128x128x128", "1x2x3"], model="gpt2", sweep=True)
    name, shapes = request.chosen_shapes()
    assert name == "gpt2"
    assert shapes[0] == Shape(835, 2304, 768, "qkv", 12)
    sizes = [str(shape) for shape in shapes]
    assert sizes.count("128x128x128") == 1 and "1x2x3" in sizes and "2048x2048x2048" in sizes


@given(st.lists(st.integers(1, 256), min_size=1))
def test_thread_counts_are_in_order_and_each_once(counts: list[int]) -> None:
    found = GemmRequest(threads=counts).chosen_threads(2)
    assert found == sorted(set(counts))


@pytest.mark.parametrize("counts", [[], [0], [-1], [1, 257]])
def test_absurd_thread_counts_are_refused(counts: list[int]) -> None:
    with pytest.raises(InputError, match="--threads"):
        GemmRequest(threads=counts).chosen_threads(2)


def test_a_machine_of_many_cpus_may_use_them_all() -> None:
    assert GemmRequest(threads=[512]).chosen_threads(512) == [512]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dtypes": ["fp64"]}, "--dtype 'fp64' is not known"),
        ({"versions": ["bf16"], "dtypes": ["fp32"]}, "computes in bf16"),
        ({"versions": []}, "--versions names none"),
        ({"prompt_len": 5}, "--prompt-len belongs to a model"),
        ({"batch_size": 2}, "--batch-size belongs to a model"),
        ({"batch_size": 0, "model": "gpt2"}, "--batch-size 0"),
        ({"prompt_len": 0, "model": "gpt2"}, "--prompt-len 0"),
        ({"source": "missing.cpp"}, "missing.cpp"),
        ({"shapes": ["1x2"]}, "no shape"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as refused:
        GemmRequest(**fields).check()
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_an_unknown_version_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="threaded"):
        GemmRequest(versions=["threadde"]).check()
