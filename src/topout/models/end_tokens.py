"""The tokens with which a model ends a text."""

import json
from typing import Any

from topout.models.source import AnySource


def end_tokens(source: AnySource) -> frozenset[int]:
    """Those of generation_config.json where that states any, else of the config, as transformers.

    Empty where none is stated; what is no token of the vocabulary is left out.
    """
    stated = _generation_config(source).get("eos_token_id")
    if stated is None:
        stated = source.config_json.get("eos_token_id")
    found = stated if isinstance(stated, list) else [stated]
    vocab_size = source.config.vocab_size
    return frozenset(each for each in found if type(each) is int and 0 <= each < vocab_size)


def _generation_config(source: AnySource) -> dict[str, Any]:
    if source.folder is None:
        return {}
    try:
        found = json.loads((source.folder / "generation_config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}  # most models have none, and a damaged one says nothing
    return found if isinstance(found, dict) else {}
