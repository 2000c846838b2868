"""Layers and graphs made by hand, with names that would break a page which does not escape."""

from typing import Any

from topout.records import (
    GraphNode,
    GraphPort,
    Layer,
    Layers,
    LayersReport,
    ModuleGraph,
    TraceFailure,
)

MARKUP = '<script>alert("x")</script>&amp;'


def op(node_id: str, label: str, *inputs: str) -> GraphNode:
    return GraphNode(
        id=node_id, kind="op", label=label, inputs=list(inputs), output_shapes=[[1, 8]]
    )


def module(node_id: str, *inputs: str, **more: Any) -> GraphNode:
    fields = {
        "kind": "module",
        "label": node_id.rpartition(".")[2] or node_id,
        "class_name": "Linear",
        "output_shapes": [[1, 8]],
        "parameters": 72,
    }
    return GraphNode(id=node_id, inputs=list(inputs), **(fields | more))


def block(node_id: str, *inputs: str, **more: Any) -> GraphNode:
    """A residual block with a side input that one of its layers takes."""
    children = [
        module(f"{node_id}.norm", "^0", class_name="LayerNorm"),
        module(f"{node_id}.mix", f"{node_id}.norm", *(["^1"] if len(inputs) > 1 else [])),
        op(f"{node_id}:+", "+", f"{node_id}.mix", "^0"),
    ]
    fields: dict[str, Any] = {"children": children, "outputs": [f"{node_id}:+"]}
    return module(node_id, *inputs, **({"class_name": "Block"} | fields | more))


def stacked_graph() -> ModuleGraph:
    """tokens → embed → 12 blocks that also take positions → head."""
    stack = block(
        *("blocks.0", "embed", "positions"), label="blocks.0", repeats=12, last_label="blocks.11"
    )
    root = GraphNode(
        id="model",
        kind="module",
        label="Model",
        class_name="Model",
        inputs=["tokens"],
        children=[
            module("embed", "^0", class_name="Embedding"),
            module("positions", class_name="Rotary"),
            stack,
            module("head", "blocks.0"),
        ],
        outputs=["head"],
    )
    return ModuleGraph(
        root=root,
        inputs=[GraphPort(name="tokens", shape=[1, 8])],
        outputs=[GraphPort(name="logits", shape=[1, 8], sources=["head"])],
        notes=["Not drawn: dropout."],
    )


def marked_up_graph() -> ModuleGraph:
    """Every name is markup."""
    node = module("a", "^0", label=MARKUP, class_name=MARKUP)
    inner = module("b", "a", label=MARKUP, class_name=MARKUP, children=[op("b:x", MARKUP, "^0")])
    function = GraphNode(
        id=MARKUP,
        kind="function",
        label=MARKUP,
        inputs=["b"],
        children=[op("f:softmax", "softmax", "^0")],
        outputs=["f:softmax"],
    )
    root = GraphNode(
        id="model",
        kind="module",
        label=MARKUP,
        class_name=MARKUP,
        inputs=[MARKUP],
        children=[node, inner, function],
    )
    return ModuleGraph(
        root=root,
        inputs=[GraphPort(name=MARKUP, shape=[1])],
        outputs=[GraphPort(name=MARKUP, shape=[1], sources=[MARKUP])],
        notes=[MARKUP],
    )


def layer(name: str, depth: int, **more: Any) -> Layer:
    fields: dict[str, Any] = {
        "class_name": "Linear",
        "calls": 1,
        "output_shapes": [[1, 8]],
        "output_bytes": 32,
        "forward_bytes": 32,
        "own_parameters": 72,
        "parameters": 72,
        "trainable_parameters": 72,
        "parameter_bytes": 288,
    }
    return Layer(name=name, depth=depth, **(fields | more))


def example_report(**more: Any) -> LayersReport:
    """embed, four equal blocks in a list, and a head tied to embed."""
    holder = {"own_parameters": 0, "class_name": "Block", "parameters": 72}
    blocks = [
        layer(f"blocks.{n}", 2, **holder, children=[layer(f"blocks.{n}.mix", 3)]) for n in range(4)
    ]
    listed = layer(
        "blocks",
        1,
        class_name="ModuleList",
        calls=0,
        output_shapes=None,
        own_parameters=0,
        parameters=288,
        forward_bytes=128,
        children=blocks,
        reasons={"output_shapes": "Holds other layers and is not called itself."},
    )
    head = layer("head", 1, own_shared_parameters=72, shared_with=["embed"])
    root = layer(
        "",
        0,
        class_name="Model",
        own_parameters=0,
        parameters=360,
        forward_bytes=192,
        children=[layer("embed", 1), listed, head],
    )
    layers = Layers(
        root=root,
        parameters=360,
        trainable_parameters=360,
        buffers=0,
        parameter_bytes=1440,
        buffer_bytes=0,
        input_bytes=64,
        forward_bytes=192,
        forward_backward_bytes=384,
        total_bytes=1888,
        rules=["Each tensor once."],
    )
    fields: dict[str, Any] = {
        "topout_version": "0",
        "created_at": "2026-01-01T00:00:00+00:00",
        "model": "example",
        "class_name": "Model",
        "dtype": "fp32",
        "inputs": [GraphPort(name="tokens", shape=[1, 8])],
        "layers": layers,
        "graph": stacked_graph(),
    }
    return LayersReport(**(fields | more))


def failed_report() -> LayersReport:
    """A forward pass that stopped."""
    whole = example_report().layers
    layers = Layers(
        root=whole.root,
        parameters=360,
        trainable_parameters=360,
        buffers=0,
        parameter_bytes=1440,
        buffer_bytes=0,
        input_bytes=64,
        failure=TraceFailure(layer="head (Linear)", op="aten::nonzero", message="no values"),
        reasons={"total_bytes": "The forward pass did not come to its end."},
    )
    return example_report(
        layers=layers, graph=None, reasons={"graph": "not traced past aten::nonzero"}
    )
