"""The models whose cost can be asked for by name, as a document."""

from collections.abc import Sequence
from itertools import groupby

from topout import units
from topout.records import CostedModel
from topout.report.document import Cell, Column, Document, Paragraph, Row, Table

_KINDS = {
    "decoder": "Decoders",
    "encoder": "Encoders",
    "encoder_decoder": "Encoders with decoders",
    "image": "Image models",
}


def known_models_document(models: Sequence[CostedModel]) -> Document:
    """A line for each model, in the order given, under a heading for each kind."""
    names = ("layers", "width", "heads", "vocab", "context", "params")
    columns = [Column("name", text=True), Column("family", text=True), *map(Column, names)]
    rows = []
    for kind, group in groupby(models, key=lambda model: model.kind):
        rows.append(Row([_KINDS.get(kind, kind)], kind="heading"))
        rows += [_row(model) for model in group]
    notes = []
    if any(_shares_heads(model) for model in models):
        notes.append("heads: in brackets those of keys and values, where they are fewer")
    if any(model.active_parameters != model.parameters for model in models):
        notes.append("params: in brackets those that a token passes through, where not all")
    return Document(
        record=None,
        title="Models",
        about="whose cost can be asked for by name",
        parts=[Table(columns, rows), *(Paragraph(note, "note") for note in notes)],
    )


def _row(model: CostedModel) -> Row:
    partly = model.active_parameters != model.parameters
    active = f"({units.count(model.active_parameters)})" if partly else ""
    return Row(
        [
            model.name,
            model.architecture,
            str(model.layers),
            str(model.width),
            f"{model.heads} ({model.kv_heads})" if _shares_heads(model) else _number(model.heads),
            _number(model.vocab_size),
            _number(model.context_len),
            Cell(units.count(model.parameters), active),
        ]
    )


def _shares_heads(model: CostedModel) -> bool:
    return None not in (model.heads, model.kv_heads) and model.heads != model.kv_heads


def _number(size: int | None) -> str:
    return units.ABSENT if size is None else str(size)
