"""The page of a model's layers: self-contained, escaped, blocks that open."""

import re

import pytest

from topout.models.known import known_config_json
from topout.report import describe
from topout.report.graph.insides import insides
from topout.report.to_html import to_html
from topout.verbs.list_layers import report_layers

from ..html_page import external_loads
from .example_layers import (
    MARKUP,
    block,
    example_report,
    failed_report,
    layer,
    marked_up_graph,
    stacked_graph,
)


@pytest.fixture(scope="module")
def page() -> str:
    return to_html(describe(example_report()))


def test_it_loads_nothing(page: str) -> None:
    assert external_loads(page) == []
    assert "default-src 'none'" in page


def test_it_says_what_the_record_says(page: str) -> None:
    for words in ("example", "0 – 3 × 4", "blocks.0 × 12", "72*", "Each tensor once."):
        assert words in page


def test_every_closed_block_leads_to_an_inside_that_is_there(page: str) -> None:
    targets = set(re.findall(r'id="(inside-\d+)"', page))
    links = set(re.findall(r'href="#(inside-\d+)"', page))
    assert targets == {"inside-0"}
    assert links <= targets


def test_the_inside_stands_in_a_details_element(page: str) -> None:
    assert re.search(
        r'<details[^>]*>\s*<summary>.*?</summary>\s*<div[^>]*id="inside-0"', page, re.DOTALL
    )


def test_names_are_text() -> None:
    report = example_report(model=MARKUP, class_name=MARKUP, graph=marked_up_graph())
    report.layers.root.children.append(layer(MARKUP, 1, class_name=MARKUP))
    page = to_html(describe(report))
    assert "<script>alert" not in page
    assert external_loads(page) == []


def test_a_failure_is_told_and_the_tree_still_shown() -> None:
    page = to_html(describe(failed_report()))
    assert "aten::nonzero" in page
    assert "0 – 3 × 4" in page
    assert '<section id="graph">' not in page
    assert "not traced past" in page


def test_blocks_that_are_built_alike_share_an_inside() -> None:
    graph = stacked_graph()
    graph.root.children.append(block("tail", "blocks.0", "positions"))
    views = insides(graph)
    assert [view.ids for view in views] == [["blocks.0", "tail"]]
    assert [port.name for port in views[0].graph.inputs] == ["embed", "positions"]


def test_a_real_model_opens_down_to_its_ops() -> None:
    fields = known_config_json("llama-3.2-1b") | {"num_hidden_layers": 2}
    report = report_layers(fields, "small", length=4)
    page = to_html(describe(report))
    assert report.graph is not None
    names = {view.node.class_name or view.node.label for view in insides(report.graph)}
    assert {"LlamaDecoderLayer", "LlamaRMSNorm", "apply_rotary_pos_emb"} <= names
    links = set(re.findall(r'href="#(inside-\d+)"', page))
    assert links and links <= set(re.findall(r'id="(inside-\d+)"', page))
    assert len(page) < 500_000
