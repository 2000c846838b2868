"""The picture as a file: valid, escaped, self-contained, saying what the record says."""

import xml.etree.ElementTree as ET

import pytest

from topout.report.graph.insides import opened_by_default
from topout.report.graph.layout import parameters_of, shape_of, text_width, title_of
from topout.report.graph.module_graph import kind_of, module_graph_svg

from ..layers.example_layers import MARKUP, block, marked_up_graph, module, op, stacked_graph

_SVG = "{http://www.w3.org/2000/svg}"


def _texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{_SVG}text")]


def test_it_says_what_the_record_says() -> None:
    texts = _texts(module_graph_svg(stacked_graph()))
    assert "blocks.0 – blocks.11" in texts
    assert "× 12" in texts
    assert {"tokens", "embed", "norm", "mix", "+", "head", "logits"} <= set(texts)
    assert "1 × 8" in texts
    assert "72" in texts


def test_a_closed_stack_shows_its_number_and_no_parts() -> None:
    texts = _texts(module_graph_svg(stacked_graph(), expanded=[]))
    assert "× 12" in texts
    assert "norm" not in texts
    assert "72 each" in texts
    assert "⋯" in texts


def test_names_are_text_wherever_they_stand() -> None:
    for opened in (None, ["b", MARKUP]):
        svg = module_graph_svg(marked_up_graph(), expanded=opened)
        root = ET.fromstring(svg)
        assert not list(root.iter(f"{_SVG}script"))
        assert MARKUP in _texts(svg)
        assert "<script" not in svg


def test_it_loads_nothing_and_runs_nothing() -> None:
    svg = module_graph_svg(stacked_graph())
    for element in ET.fromstring(svg).iter():
        assert element.tag.removeprefix(_SVG) in {
            *("svg", "title", "style", "rect", "g", "path", "polygon", "text"),
        }
        assert not any(name.startswith("on") or "href" in name for name in element.attrib)
    assert "url(" not in svg
    assert "@import" not in svg


def test_light_and_dark_have_colours_of_their_own() -> None:
    assert "prefers-color-scheme:dark" in module_graph_svg(stacked_graph())


def test_a_closed_block_leads_to_its_inside() -> None:
    svg = module_graph_svg(stacked_graph(), [], address=lambda node: f"#to-{node.id}")
    links = [element.get("href") for element in ET.fromstring(svg).iter(f"{_SVG}a")]
    assert links == ["#to-blocks.0"]


def test_a_representative_is_opened_and_its_like_are_not() -> None:
    graph = stacked_graph()
    twin = block("blocks.12", "blocks.0", "positions", label="blocks.12")
    other = block("tail", "blocks.12")
    graph.root.children.extend([twin, other])
    assert opened_by_default(graph) == {"model", "blocks.0"}


def test_words_in_boxes() -> None:
    stack = block("h.0", "a", label="h.0", repeats=3, last_label="h.2", parameters=7_087_872)
    assert title_of(stack) == "h.0 – h.2"
    assert parameters_of(stack) == "7.09 M each"
    assert parameters_of(module("a", parameters=0)) == ""
    assert shape_of(module("a", output_shapes=[[2, 3], [4]])) == "2 × 3  + 1 more"
    assert shape_of(module("a", output_shapes=[[]])) == "scalar"


def test_wide_letters_take_more_room() -> None:
    assert text_width("mmmm", 13) > text_width("iiii", 13)
    assert text_width("層", 13) > text_width("a", 13)
    assert text_width("a", 13, bold=True) > text_width("a", 13)


@pytest.mark.parametrize(
    ("class_name", "kind"),
    [
        ("LayerNorm", "norm"),
        ("LlamaRMSNorm", "norm"),
        ("BatchNorm2d", "norm"),
        ("Embedding", "embedding"),
        ("GPT2Attention", "attention"),
        ("Conv1D", "linear"),
        ("Conv2d", "convolution"),
        ("NewGELUActivation", "activation"),
        ("LlamaMLP", "linear"),
        ("SomethingElse", "other"),
    ],
)
def test_kinds(class_name: str, kind: str) -> None:
    assert kind_of(module("a", class_name=class_name)) == kind


def test_a_sign_is_a_kind_of_its_own() -> None:
    assert kind_of(op("a", "+")) == "sign"
