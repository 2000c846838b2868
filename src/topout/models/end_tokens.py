"""The tokens with which a model ends a text."""

from typing import Any

from topout.input_file import MOST_CONFIG_BYTES, parse_json, read_input
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
        path = source.folder / "generation_config.json"
        found = parse_json(read_input(path, MOST_CONFIG_BYTES))
    except (OSError, ValueError):
        return {}  # most models have none, and a damaged one says nothing
    return found if isinstance(found, dict) else {}
