"""The models whose cost can be asked for by name, and two counts of one side by side."""

from collections.abc import Sequence
from itertools import groupby

from topout import units
from topout.records import CostedModel, CountCheck
from topout.report.document import Cell, Column, Document, Paragraph, Row, Table

_WIDE = 120
_KINDS = {
    "decoder": "Decoders",
    "encoder": "Encoders",
    "encoder_decoder": "Encoders with decoders",
    "image": "Image models",
}


def known_models_document(models: Sequence[CostedModel]) -> Document:
    """A line for each model, under a heading for each kind, in the order given."""
    columns = [
        Column("name", text=True),
        Column("by", text=True),
        Column("since", text=True),
        Column("weights", text=True, from_width=_WIDE),
        Column("family", text=True, from_width=_WIDE),
        Column("in", text=True),
        Column("layers"),
        Column("width"),
        Column("heads", from_width=_WIDE),
        Column("vocab", from_width=_WIDE),
        Column("context", from_width=_WIDE),
        Column("kind", text=True, from_width=_WIDE),
        Column("params"),
    ]
    rows = []
    kinds = list(dict.fromkeys(model.kind for model in models))
    by_kind = sorted(models, key=lambda model: kinds.index(model.kind))
    for kind, group in groupby(by_kind, key=lambda model: model.kind):
        rows.append(Row([_KINDS.get(kind, kind)], kind="heading"))
        rows += [_row(model) for model in group]
    notes = [
        "in: the precision that the checkpoint was published in",
        "weights: open, gated (after a licence is accepted, or on request), or closed",
    ]
    if any(model.encoder_layers is not None for model in models):
        notes.append("layers: of the encoder and of the decoder, where there are both")
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
    active = f"({units.parameters(model.active_parameters)})" if partly else ""
    return Row(
        [
            model.name,
            model.organisation or units.ABSENT,
            model.released or units.ABSENT,
            model.access or units.ABSENT,
            model.architecture,
            model.published_weights or model.published_dtype or units.ABSENT,
            _layers(model),
            str(model.width),
            f"{model.heads} ({model.kv_heads})" if _shares_heads(model) else _number(model.heads),
            _number(model.vocab_size),
            _number(model.context_len),
            "sparse" if partly else "dense",
            Cell(units.parameters(model.parameters), active),
        ]
    )


def _layers(model: CostedModel) -> str:
    if model.encoder_layers is None:
        return str(model.layers)
    return f"{model.encoder_layers} + {model.layers - model.encoder_layers}"


def _shares_heads(model: CostedModel) -> bool:
    return None not in (model.heads, model.kv_heads) and model.heads != model.kv_heads


def _number(size: int | None) -> str:
    return units.ABSENT if size is None else str(size)


def count_check_document(check: CountCheck) -> Document:
    """What was counted, by formula and traced, and whether they agree."""
    columns = [Column("", text=True), *map(Column, ("by formula", "traced", "difference"))]
    rows = [
        Row([each.what, f"{each.formula:,}", f"{each.traced:,}", f"{each.difference:+,}"])
        for each in check.comparisons
    ]
    left_out = ", ".join(check.not_counted)
    return Document(
        record=check,
        title=check.model,
        about=(
            f"the formula against a run of {check.class_name} without weights, "
            f"{check.batch_size} × {check.length}, attention counted in full on both sides"
        ),
        headlines=[_verdict(check)],
        parts=[
            Table(columns, rows),
            *(
                Paragraph(f"{each.what}: {each.reason}.")
                for each in check.comparisons
                if each.reason is not None
            ),
            Paragraph(f"Not counted in the run: {left_out}." if left_out else ""),
            Paragraph(f"The run broke off: {check.failure}" if check.failure else "", "failed"),
        ],
    )


def _verdict(check: CountCheck) -> str:
    if not check.agrees:
        return "They do not agree."
    exact = not any(each.difference for each in check.comparisons)
    return "They agree exactly." if exact else "They agree but for what is explained:"
