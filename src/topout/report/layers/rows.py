"""The layers of a model as rows of a table, equal blocks in a row told once."""

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from topout import units
from topout.records import Layer, Layers, LayersReport


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer, or the first of `repeats` equal ones in a row; figures are those of one."""

    layer: Layer
    label: str  # "attn", "0 – 11"
    guide: str  # the lines of the tree to the left of the label
    repeats: int
    depth: int

    @property
    def name(self) -> str:
        """The label, and how many there are."""
        return f"{self.label} × {self.repeats}" if self.repeats > 1 else self.label

    @property
    def class_name(self) -> str:
        """The class, where it is not the label, and how often it was called if not once."""
        name = "" if self.layer.class_name == self.label else self.layer.class_name
        calls = f"{self.layer.calls} calls" if self.layer.calls > 1 else ""
        return " ".join(part for part in (name, calls) if part)

    @property
    def shape(self) -> str:
        """The shape of its output; of several the first, and how many more."""
        shapes = self.layer.output_shapes
        if shapes is None:
            return "" if self.layer.forward_bytes else "not called"
        if not shapes:
            return units.ABSENT
        first = "×".join(str(size) for size in shapes[0]) or "scalar"
        return f"{first} +{len(shapes) - 1}" if len(shapes) > 1 else first

    @property
    def parameters(self) -> str:
        """All of them, exactly; marked where some were counted in an earlier layer."""
        mark = "*" if self.layer.own_shared_parameters else ""
        return f"{self.layer.parameters:,}{mark}" if self.layer.parameters else ""

    @property
    def outputs(self) -> str:
        """Bytes that its layers put out."""
        return units.si(self.layer.forward_bytes, "B") if self.layer.forward_bytes else ""


def layer_rows(layers: Layers, expand: bool = False) -> list[LayerRow]:
    """The rows in the order of execution; with `expand` every one of equal layers."""
    root = LayerRow(layers.root, layers.root.class_name, "", 1, 0)
    return [root, *_rows(layers.root, "", 1, expand)]


def _rows(parent: Layer, guide: str, depth: int, expand: bool) -> Iterator[LayerRow]:
    runs = _runs(parent.children, expand)
    for position, run in enumerate(runs):
        is_last = position == len(runs) - 1
        first = run[0]
        label = _label(first, parent)
        if len(run) > 1:
            label = f"{label} – {_label(run[-1], parent)}"
        yield LayerRow(first, label, guide + ("└ " if is_last else "├ "), len(run), depth)
        yield from _rows(first, guide + ("  " if is_last else "│ "), depth + 1, expand)


def _label(layer: Layer, parent: Layer) -> str:
    return layer.name.removeprefix(f"{parent.name}." if parent.name else "")


def _runs(children: list[Layer], expand: bool) -> list[list[Layer]]:
    """Neighbours that are equal, together."""
    runs: list[list[Layer]] = []
    for child in children:
        if runs and not expand and _signature(runs[-1][0]) == _signature(child):
            runs[-1].append(child)
        else:
            runs.append([child])
    return runs


def _signature(layer: Layer) -> Hashable:
    """What two layers have in common if they differ in the numbers of their names alone."""
    shapes = layer.output_shapes
    return (
        re.sub(r"\d+", "#", layer.name),
        layer.class_name,
        layer.calls,
        None if shapes is None else tuple(tuple(shape) for shape in shapes),
        (layer.own_parameters, layer.own_shared_parameters, layer.parameters),
        (layer.trainable_parameters, layer.parameter_bytes, layer.buffers, layer.forward_bytes),
        tuple(_signature(child) for child in layer.children),
    )


def shared_sentences(root: Layer) -> list[str]:
    """A sentence for each layer whose parameters were counted in an earlier one."""
    sentences = []
    if root.own_shared_parameters:
        others = ", ".join(other or root.class_name for other in root.shared_with)
        sentences.append(
            f"* {root.name} shares {root.own_shared_parameters:,} parameters with {others}; "
            "they count once."
        )
    return sentences + [each for child in root.children for each in shared_sentences(child)]


def sums(layers: Layers) -> list[tuple[str, str]]:
    """The totals, each with its name."""
    frozen = layers.parameters - layers.trainable_parameters
    of_them = "all trainable" if not frozen else f"{layers.trainable_parameters:,} trainable"
    rows = [("Parameters", f"{layers.parameters:,} ({of_them}), {_bytes(layers.parameter_bytes)}")]
    if layers.buffers:
        rows.append(("Buffers", f"{layers.buffers:,}, {_bytes(layers.buffer_bytes)}"))
    rows.append(("Inputs", _bytes(layers.input_bytes)))
    rows.append(("Outputs, forward", _bytes(layers.forward_bytes)))
    rows.append(("Forward and backward", _bytes(layers.forward_backward_bytes)))
    rows.append(("Estimated total", _total(layers.total_bytes)))
    return rows


def _bytes(value: int | None) -> str:
    return units.si(value, "B")


def _total(value: int | None) -> str:
    """Also in units of 1024² bytes, which other summaries call MB."""
    if value is None:
        return units.ABSENT
    binary = f"{value / 2**20:,.2f}"
    return f"{_bytes(value)} ({value:,} bytes; {binary} MB where 1 MB is 1024² bytes)"


def workload_words(report: LayersReport) -> str:
    """What went into the model: "input_ids 1×128, fp32"."""
    given = [f"{port.name} {'×'.join(map(str, port.shape))}" for port in report.inputs]
    return ", ".join([*given, report.dtype])
