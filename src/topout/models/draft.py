"""The smaller model that proposes what a larger one verifies."""

from topout.errors import InputError
from topout.models.known import DRAFTS, bundled_folder
from topout.models.source import ModelSource, resolve_model


def resolve_draft(
    name: str | None, source: ModelSource, *, random_weights: bool = False, seed: int = 0
) -> ModelSource | None:
    """The named draft of a model, or the one that comes with a bundled model; None without.

    Raises as `resolve_model` does, and InputError for one with another number of tokens.
    """
    if name is None and source.folder is not None and source.folder == bundled_folder(source.name):
        name = DRAFTS.get(source.name)
    if name is None:
        return None
    draft = resolve_model(name, random_weights=random_weights, seed=seed)
    if draft.config.vocab_size != source.config.vocab_size:
        raise InputError(
            f"the draft {draft.name} has {draft.config.vocab_size} tokens, and {source.name} has "
            f"{source.config.vocab_size}.",
            "Give a draft with the same tokenizer.",
        )
    return draft
