"""The request: what is meant by default, what cannot be meant, and the products of models."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.example_climb import example_machine
from topout.cost.ops import Op
from topout.errors import InputError, UnknownNameError, UnsupportedError
from topout.gemm.case import version_names
from topout.gemm.request import (
    GemmRequest,
    Shape,
    _merged,
    parse_shape,
    shapes_of_model,
    square,
    sweep,
)
from topout.models.known import countable_names
from topout.models.known_today import TODAY


def test_by_default_one_square_product_on_all_cpus() -> None:
    request = GemmRequest()
    request.check()
    assert request.chosen_shapes() == (None, [Shape(1024, 1024, 1024)])
    assert request.chosen_threads(6) == [6]
    assert request.chosen_dtypes() == ["fp32"]
    assert request.chosen_versions(["fp32"]) == version_names("fp32")


def test_versions_bring_their_data_types() -> None:
    request = GemmRequest(versions=["int8", "naive", "bf16"])
    request.check()
    assert request.chosen_dtypes() == ["fp32", "bf16", "int8"]
    assert request.chosen_versions(request.chosen_dtypes()) == ["naive", "bf16", "int8"]


def test_data_types_bring_their_versions() -> None:
    request = GemmRequest(dtypes=["bf16"])
    assert request.chosen_versions(request.chosen_dtypes()) == ["bf16"]


@pytest.mark.parametrize(
    ("model", "isa", "precision"),
    [
        ("gpt2", [], ("fp32", "as published")),
        ("qwen3-8b", ["amx_bf16"], ("bf16", "as published")),
        ("qwen3-8b", [], ("fp32", "published in bf16, for which this CPU has no unit")),
        ("llama-2-7b", ["amx_bf16"], ("fp32", "published in fp16, which is not run on CPUs")),
    ],
)
def test_a_model_brings_the_precision_that_it_was_published_in(
    model: str, isa: list[str], precision: tuple[str, str]
) -> None:
    machine = msgspec.structs.replace(example_machine(), vector_isa=isa)
    assert GemmRequest(model=model).precision_for(machine) == precision
    assert GemmRequest(model=model).chosen_dtypes(precision[0]) == [precision[0]]  # type: ignore[arg-type]
    # What is asked for decides before it.
    assert GemmRequest(model=model, dtypes=["int8"]).precision_for(machine) is None
    assert GemmRequest(model=model, versions=["naive"]).precision_for(machine) is None
    assert GemmRequest().precision_for(machine) is None


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


SIZES = st.integers(0, 2**63 - 1)


@given(SIZES, SIZES, SIZES, st.sampled_from("xX×"))
def test_what_is_written_is_read(m: int, n: int, k: int, times: str) -> None:
    assert parse_shape(f" {m}{times}{n}{times}{k} ") == Shape(m, n, k)
    assert parse_shape(str(Shape(m, n, k))) == Shape(m, n, k)


@pytest.mark.parametrize(
    "text", ["", "835", "1x2", "1x2x3x4", "-1x2x3", "1.5x2x3", "axbxc", "1x 2x3", "٣x2x3", "1x2x"]
)
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no shape"):
        parse_shape(text)


@pytest.mark.parametrize("size", [str(2**63), "9" * 5000])
def test_a_size_that_overflows_is_refused(size: str) -> None:
    with pytest.raises(InputError, match="overflows") as refused:
        parse_shape(f"{size}x1x1")
    assert len(str(refused.value)) < 200


@given(st.text(max_size=20))
def test_any_text_is_a_shape_or_an_input_error(text: str) -> None:
    try:
        parse_shape(text)
    except InputError as error:
        assert "\n" not in str(error) or "\n" in text


def test_gpt2_at_the_published_prompt() -> None:
    name, shapes = shapes_of_model("gpt2")
    assert name == "gpt2"
    assert shapes == [
        Shape(835, 2304, 768, "qkv", 12),  # 3 · 768
        Shape(835, 768, 768, "attention_out", 12),
        Shape(835, 3072, 768, "mlp_up", 12),  # 4 · 768
        Shape(835, 768, 3072, "mlp_down", 12),
        Shape(1, 50257, 768, "head", 1),  # one position of the prompt
    ]


def test_a_batch_multiplies_the_rows() -> None:
    _, shapes = shapes_of_model("gpt2", prompt_len=10, batch_size=3)
    assert [shape.m for shape in shapes] == [30, 30, 30, 30, 3]


def test_equal_products_are_one() -> None:
    """BERT's head and its attention output have one size where the prompt is one token."""
    _, shapes = shapes_of_model("bert-base", prompt_len=1)
    assert Shape(1, 768, 768, "attention_out, pooler", 13) in shapes
    assert len({(shape.m, shape.n, shape.k) for shape in shapes}) == len(shapes)


def test_experts_multiply_by_themselves() -> None:
    """Mixtral: 8 experts in 32 blocks; of 835 tokens 2 · 835 / 8 = 209 go to each."""
    _, shapes = shapes_of_model("mixtral-8x7b")
    assert Shape(209, 28672, 4096, "mlp_up", 32 * 8) in shapes


@pytest.mark.parametrize("name", [name for name in countable_names() if name not in TODAY])
def test_every_known_model_has_products(name: str) -> None:
    _, shapes = shapes_of_model(name)
    assert all(min(shape.m, shape.n, shape.k, shape.calls) >= 1 for shape in shapes)


def test_a_model_without_formulas_is_refused_by_its_kind() -> None:
    with pytest.raises(UnsupportedError, match="architecture 'opt'"):
        shapes_of_model("opt-125m")


def test_sizes_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(UnknownNameError):
        shapes_of_model("gtp2")
    with pytest.raises(InputError, match="positions"):
        shapes_of_model("gpt2", prompt_len=2000)
    with pytest.raises(InputError, match="size"):
        shapes_of_model("gpt2", prompt_len=0)


def test_a_model_without_linear_layers_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topout.gemm.request._merged", lambda ops: [])
    with pytest.raises(UnsupportedError, match="no linear layers"):
        shapes_of_model("gpt2")


def test_an_op_that_states_another_product_is_noticed() -> None:
    wrong = Op(
        name="x", kind="linear", count=1, shape="2×3 · 3×5", rows=2, matrix_elements=16, flops=60.0
    )
    with pytest.raises(AssertionError):
        _merged([wrong])


def test_defaults() -> None:
    assert square() == Shape(1024, 1024, 1024)
    assert all(shape.m == shape.n == shape.k for shape in sweep())
    case = Shape(2, 3, 4, "qkv", 5).case("bf16", 6)
    assert (case.flops, case.dtype, case.threads, case.label, case.calls) == (
        48,
        "bf16",
        6,
        "qkv",
        5,
    )
