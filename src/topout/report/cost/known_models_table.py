"""The models whose cost can be asked for by name, as a table for a terminal of 80 columns."""

from collections.abc import Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.text import Text

from topout import units
from topout.records import CostedModel
from topout.report.side_by_side import plain_table

_KINDS = {
    "decoder": "Decoders",
    "encoder": "Encoders",
    "encoder_decoder": "Encoders with decoders",
    "image": "Image models",
}
_COLUMNS = ("layers", "width", "heads", "vocab", "context", "params")


def known_models_table(rows: Sequence[CostedModel]) -> RenderableType:
    """A line for each model, in the order given, under a heading for each kind."""
    table = plain_table()
    table.padding = (0, 0, 0, 0)  # the box's own cell is gap enough
    table.add_column("name", overflow="fold")
    table.add_column("family", overflow="fold")
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for kind, models in groupby(rows, key=lambda model: model.kind):
        table.add_row(Text(_KINDS.get(kind, kind), style="bold"))
        for model in models:
            table.add_row(*map(Text, _cells(model)))
    notes = []
    if any(_shares_heads(model) for model in rows):
        notes.append("heads: in brackets those of keys and values, where they are fewer")
    if any(model.active_parameters != model.parameters for model in rows):
        notes.append("params: in brackets those that a token passes through, where not all")
    return Group(table, *(Text(note, style="dim") for note in notes))


def _cells(model: CostedModel) -> list[str]:
    parameters = units.count(model.parameters)
    if model.active_parameters != model.parameters:
        parameters += f"\n({units.count(model.active_parameters)})"
    return [
        model.name,
        model.architecture,
        str(model.layers),
        str(model.width),
        f"{model.heads} ({model.kv_heads})" if _shares_heads(model) else _number(model.heads),
        _number(model.vocab_size),
        _number(model.context_len),
        parameters,
    ]


def _shares_heads(model: CostedModel) -> bool:
    return None not in (model.heads, model.kv_heads) and model.heads != model.kv_heads


def _number(size: int | None) -> str:
    return units.ABSENT if size is None else str(size)
