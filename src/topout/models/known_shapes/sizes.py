"""The fields that set the size of a model, under the names that most families use."""

from typing import Any

ConfigJson = dict[str, Any]  # of a config.json
KnownShapes = dict[str, tuple[str, ConfigJson]]  # short name → (hub id, fields of config.json)

TIED: ConfigJson = {"tie_word_embeddings": True}


def sizes(width: int, mlp_width: int, layers: int, heads: int, kv_heads: int) -> ConfigJson:
    """The sizes of a decoder; `kv_heads` share its keys and values."""
    return encoder_sizes(width, mlp_width, layers, heads) | {"num_key_value_heads": kv_heads}


def encoder_sizes(width: int, mlp_width: int, layers: int, heads: int) -> ConfigJson:
    """The sizes of an encoder, in which every head has keys and values of its own."""
    return {
        "hidden_size": width,
        "intermediate_size": mlp_width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }
