"""BERT, RoBERTa and DistilBERT without a head, and the T5 family.

The files of the first three name the masked-language class that they were trained as; here they
are the encoders that a task's head is put on.
"""

from topout.models.known_shapes.sizes import ConfigJson, KnownShapes, encoder_sizes

_BERT: ConfigJson = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
_ROBERTA: ConfigJson = {
    "model_type": "roberta",
    "hidden_act": "gelu",
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
}
_XLM_ROBERTA: ConfigJson = _ROBERTA | {"model_type": "xlm-roberta", "vocab_size": 250002}
_DISTILBERT: ConfigJson = {
    "model_type": "distilbert",
    "activation": "gelu",
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "dim": 768,
    "hidden_dim": 3072,
    "n_layers": 6,
    "n_heads": 12,
}
_BASE, _LARGE = encoder_sizes(768, 3072, 12, 12), encoder_sizes(1024, 4096, 24, 16)


def _t5(width: int, mlp_width: int, head_size: int, heads: int, layers: int) -> ConfigJson:
    return {
        "model_type": "t5",
        "vocab_size": 32128,
        "d_model": width,
        "d_ff": mlp_width,
        "d_kv": head_size,
        "num_heads": heads,
        "num_layers": layers,
        "relative_attention_num_buckets": 32,
        "layer_norm_epsilon": 1e-6,
    }


def _flan_t5(width: int, mlp_width: int, heads: int, layers: int) -> ConfigJson:
    gated = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    return _t5(width, mlp_width, 64, heads, layers) | gated


ENCODERS: KnownShapes = {
    "bert-base-uncased": ("google-bert/bert-base-uncased", _BERT | _BASE),
    "bert-large-uncased": ("google-bert/bert-large-uncased", _BERT | _LARGE),
    "distilbert-base-uncased": ("distilbert/distilbert-base-uncased", _DISTILBERT),
    "roberta-base": ("FacebookAI/roberta-base", _ROBERTA | _BASE),
    "roberta-large": ("FacebookAI/roberta-large", _ROBERTA | _LARGE),
    "xlm-roberta-base": ("FacebookAI/xlm-roberta-base", _XLM_ROBERTA | _BASE),
    "xlm-roberta-large": ("FacebookAI/xlm-roberta-large", _XLM_ROBERTA | _LARGE),
    "t5-small": ("google-t5/t5-small", _t5(512, 2048, 64, 8, 6)),
    "t5-base": ("google-t5/t5-base", _t5(768, 3072, 64, 12, 12)),
    "t5-large": ("google-t5/t5-large", _t5(1024, 4096, 64, 16, 24)),
    "t5-3b": ("google-t5/t5-3b", _t5(1024, 16384, 128, 32, 24)),
    "t5-11b": ("google-t5/t5-11b", _t5(1024, 65536, 128, 128, 24)),
    "flan-t5-small": ("google/flan-t5-small", _flan_t5(512, 1024, 6, 8)),
    "flan-t5-base": ("google/flan-t5-base", _flan_t5(768, 2048, 12, 12)),
    "flan-t5-large": ("google/flan-t5-large", _flan_t5(1024, 2816, 16, 24)),
    "flan-t5-xl": ("google/flan-t5-xl", _flan_t5(2048, 5120, 32, 24)),
    "flan-t5-xxl": ("google/flan-t5-xxl", _flan_t5(4096, 10240, 64, 24)),
}
