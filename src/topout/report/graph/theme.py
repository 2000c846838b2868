"""The colours of a graph's boxes, by what a module does, in light and in dark."""

from topout.records import GraphNode

# The first of these whose words stand in the class or the name decides.
_KINDS = {
    "norm": ("norm",),
    "embedding": ("embed", "rotary", "position"),
    "attention": ("attention", "attn", "softmax", "scaled_dot_product"),
    "convolution": ("conv2d", "conv1d", "conv3d", "pool", "convlayer"),
    "activation": ("gelu", "relu", "silu", "swish", "tanh", "sigmoid", "activation", "softplus"),
    "linear": ("linear", "dense", "mlp", "expert", "matmul", "proj", "head"),
}
_LINEAR_CLASSES = {"Conv1D"}  # of transformers: a linear layer with its weight transposed


def kind_of(node: GraphNode) -> str:
    """What a node does: a key of the palette, "other" where neither class nor name tells."""
    if node.class_name in _LINEAR_CLASSES:
        return "linear"
    if node.kind == "op" and len(node.label) == 1:
        return "sign"
    words = (node.class_name or node.label).lower()
    for kind, parts in _KINDS.items():
        if any(part in words for part in parts):
            return kind
    return "other"


# Tints with a border of the same hue, light then dark; told apart by hue and by lightness.
_LIGHT = {
    "embedding": ("#efe6f7", "#9a76bd"),
    "attention": ("#fde8d7", "#d9812f"),
    "linear": ("#dfecf8", "#4a8ac4"),
    "norm": ("#e9edf1", "#8b98a5"),
    "activation": ("#fbf1cd", "#c9a227"),
    "convolution": ("#d9f0e6", "#2f9d78"),
    "other": ("#f3f4f6", "#98a1ab"),
    "sign": ("#ffffff", "#5c6570"),
}
_DARK = {
    "embedding": ("#342a42", "#a98cc9"),
    "attention": ("#452f1c", "#e09a55"),
    "linear": ("#1d344b", "#6aa7df"),
    "norm": ("#2a3037", "#8e9aa7"),
    "activation": ("#40381a", "#d6b64c"),
    "convolution": ("#173a2e", "#52b893"),
    "other": ("#262b31", "#838d98"),
    "sign": ("#14171b", "#9ba5b1"),
}


def _fills(palette: dict[str, tuple[str, str]]) -> str:
    return "".join(
        f".module-graph .mg-k-{kind}{{fill:{fill};stroke:{border}}}"
        for kind, (fill, border) in palette.items()
    )


STYLE = (
    ".module-graph{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,"
    "sans-serif;--mg-paper:#fff;--mg-ink:#1b1f24;--mg-soft:#5c6570;--mg-edge:#c3cad2;"
    "--mg-line:#6b7580;--mg-in0:#f8f9fb;--mg-in1:#fff;--mg-badge:#1c69a8;--mg-on:#fff}"
    ".module-graph .mg-paper{fill:var(--mg-paper)}"
    ".module-graph .mg-frame{stroke:var(--mg-edge);stroke-width:1.2}"
    ".module-graph .mg-0{fill:var(--mg-in0)}.module-graph .mg-1{fill:var(--mg-in1)}"
    ".module-graph .mg-function,.module-graph .mg-dashed{stroke-dasharray:5 3.5}"
    ".module-graph .mg-fill{stroke-width:1.2}"
    ".module-graph .mg-port{fill:none;stroke:var(--mg-line);stroke-width:1.2}"
    ".module-graph .mg-line{fill:none;stroke:var(--mg-line);stroke-width:1.5}"
    ".module-graph .mg-head{fill:var(--mg-line)}"
    ".module-graph .mg-name{font-size:13px;font-weight:600;fill:var(--mg-ink)}"
    ".module-graph .mg-soft{font-size:11px;fill:var(--mg-soft);white-space:pre}"
    ".module-graph .mg-figure{font-size:11px;fill:var(--mg-ink);"
    "font-variant-numeric:tabular-nums}"
    ".module-graph .mg-sign{font-size:16px;fill:var(--mg-ink)}"
    ".module-graph .mg-badge{fill:var(--mg-badge)}"
    ".module-graph .mg-count{font-size:11px;font-weight:650;fill:var(--mg-on)}"
    ".module-graph .mg-link{cursor:pointer}"
    ".module-graph .mg-link:hover .mg-fill{stroke-width:2.4}"
    + _fills(_LIGHT)
    + "@media (prefers-color-scheme:dark){.module-graph{--mg-paper:#14171b;--mg-ink:#e7eaee;"
    "--mg-soft:#a5afba;--mg-edge:#3d4650;--mg-line:#8d98a4;--mg-in0:#1a1e23;--mg-in1:#14171b;"
    "--mg-badge:#6db3ee;--mg-on:#14171b}" + _fills(_DARK) + "}"
)
