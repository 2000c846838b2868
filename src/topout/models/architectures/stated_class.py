"""What a `config.json` says of the class that it was saved from: its head, labels, quantization."""

from topout.errors import InputError
from topout.models.fields import Fields


def stated_classes(fields: Fields) -> list[str]:
    """The transformers classes that `architectures` names; empty where it is absent."""
    return fields.texts("architectures", [])


def notes(fields: Fields, counted_as: str) -> list[str]:
    """What counting `counted_as` leaves out of what `config.json` describes, in words."""
    left_out = []
    classes = stated_classes(fields)
    if classes and counted_as not in classes:
        left_out.append(
            f"config.json names {', '.join(classes)}; {counted_as} is counted in its place."
        )
    if fields.has("quantization_config"):
        left_out.append(
            "The checkpoint is stored quantized; weights are counted by their shape, without"
            " scales and zero points."
        )
    return left_out


def label_count(fields: Fields) -> int:
    """The classes that a classifier tells apart: of `id2label`, else `num_labels`, else 2.

    Raises InputError when the two contradict each other.
    """
    stated = fields.integer("num_labels", least=0) if fields.has("num_labels") else None
    if not fields.has("id2label"):
        return 2 if stated is None else stated  # transformers' default
    named = len(fields.nested("id2label").raw)
    if stated not in (None, named):
        raise InputError(
            f"{fields.source}: `num_labels` is {stated}, and `id2label` names {named} labels.",
            "Correct one of them in config.json.",
        )
    return named
