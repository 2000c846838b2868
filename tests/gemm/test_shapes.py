"""Shapes: the parser, and the products that a model's configuration holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.cost.ops import Op
from topout.errors import InputError, UnknownNameError, UnsupportedError
from topout.gemm.shapes import Shape, _merged, parse_shape, shapes_of_model, square, sweep
from topout.models.known import countable_names

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


@pytest.mark.parametrize("name", countable_names())
def test_every_known_model_has_products(name: str) -> None:
    _, shapes = shapes_of_model(name)
    assert all(min(shape.m, shape.n, shape.k, shape.calls) >= 1 for shape in shapes)


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(UnknownNameError):
        shapes_of_model("gtp2")
    with pytest.raises(InputError, match="positions"):
        shapes_of_model("gpt2", prompt_len=2000)
    with pytest.raises(InputError, match="size"):
        shapes_of_model("gpt2", prompt_len=0)


def test_a_model_without_linear_layers_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topout.gemm.shapes._merged", lambda ops: [])
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
