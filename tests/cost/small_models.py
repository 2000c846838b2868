"""Small transformers models of each family, and their architecture as read from their config."""

from typing import Any

import torch
import transformers as tr

from topout.models.architecture import Architecture
from topout.models.architectures.read import read_architecture

BATCH, LENGTH, TARGETS, VOCAB, LABELS = 3, 10, 7, 50, 5
_SHAPE = {"vocab_size": VOCAB, "hidden_size": 24, "intermediate_size": 56, "num_hidden_layers": 2}
_GROUPED = {**_SHAPE, "num_attention_heads": 4, "num_key_value_heads": 2}
_ENCODER = {**_SHAPE, "num_attention_heads": 2}
_T5 = {"vocab_size": VOCAB, "d_model": 24, "d_kv": 8, "d_ff": 56, "num_heads": 2}


def _config(family: str, dropout: float) -> Any:
    """A config with dropout wherever the family has one."""
    attention = {"attention_dropout": dropout}
    encoder = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    small = {"max_position_embeddings": 32}
    match family:
        case "gpt2":
            rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
            return tr.GPT2Config(
                vocab_size=VOCAB, n_positions=32, n_embd=24, n_layer=2, n_head=2, **rates
            )
        case "llama":
            return tr.LlamaConfig(**_GROUPED, **attention, **small)
        case "qwen3":
            return tr.Qwen3Config(**_GROUPED, **attention, **small, head_dim=6)
        case "gemma":
            return tr.GemmaConfig(**_GROUPED, **attention, **small, head_dim=6)
        case "gemma3":
            return tr.Gemma3TextConfig(**_GROUPED, **attention, **small, head_dim=6)
        case "mixtral":
            experts = {"num_local_experts": 4, "num_experts_per_tok": 2}
            return tr.MixtralConfig(**_GROUPED, **attention, **small, **experts)
        case "qwen2_moe":
            shared = {"moe_intermediate_size": 40, "shared_expert_intermediate_size": 32}
            experts = {"num_experts": 4, "num_experts_per_tok": 2, **shared}
            return tr.Qwen2MoeConfig(**_GROUPED, **attention, **small, **experts)
        case "bert":
            return tr.BertConfig(**_ENCODER, **encoder, **small)
        case "roberta":
            return tr.RobertaConfig(**_ENCODER, **encoder, **small)
        case "distilbert":
            return tr.DistilBertConfig(
                vocab_size=VOCAB,
                dim=24,
                hidden_dim=56,
                n_layers=2,
                n_heads=2,
                dropout=dropout,
                **attention,
            )
        case "t5" | "t5-gated":
            mlp = "relu" if family == "t5" else "gated-gelu"
            return tr.T5Config(
                **_T5,
                num_layers=2,
                num_decoder_layers=2,
                dropout_rate=dropout,
                feed_forward_proj=mlp,
                decoder_start_token_id=0,
            )
        case "vit":
            return tr.ViTConfig(
                **_ENCODER, **encoder, image_size=12, patch_size=4, num_labels=LABELS
            )
    return tr.ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 32], depths=[2, 1], num_labels=LABELS
    )


_CLASSES = {
    "bert": tr.BertForMaskedLM,
    "roberta": tr.RobertaForMaskedLM,
    "distilbert": tr.DistilBertForMaskedLM,
    "t5": tr.T5ForConditionalGeneration,
    "t5-gated": tr.T5ForConditionalGeneration,
    "vit": tr.ViTForImageClassification,
    "resnet": tr.ResNetForImageClassification,
}


def build(
    family: str,
    dtype: torch.dtype,
    *,
    attention: str = "sdpa",
    dropout: float = 0.0,
    **changes: Any,
) -> tuple[torch.nn.Module, Architecture]:
    """A model in training mode, and its architecture."""
    torch.manual_seed(0)
    config = _config(family, dropout)
    for name, value in changes.items():
        setattr(config, name, value)
    if family != "resnet":
        config._attn_implementation = attention
    known = tr.AutoModelForCausalLM._model_mapping
    model_class = _CLASSES.get(family) or known[type(config)]
    model = model_class(config).to(dtype).train()
    raw = config.to_dict() | {"architectures": [model_class.__name__]}
    size = {"image_size": 32} if family == "resnet" else {}
    return model, read_architecture(raw, family, **size)


def inputs(
    family: str, dtype: torch.dtype, *, batch: int = BATCH, length: int = LENGTH, vocab: int = VOCAB
) -> dict[str, Any]:
    """Arguments of one training step; labels are tensors of their own."""
    if family in ("vit", "resnet"):
        side = 12 if family == "vit" else 32
        pixels = torch.randn(batch, 3, side, side).to(dtype)
        return {"pixel_values": pixels, "labels": torch.randint(0, LABELS, (batch,))}
    targets = TARGETS if family.startswith("t5") else length
    tokens = {
        "input_ids": torch.randint(0, vocab, (batch, length)),
        "labels": torch.randint(0, vocab, (batch, targets)),
    }
    caches = family not in _CLASSES or family.startswith("t5")
    return tokens | ({"use_cache": False} if caches else {})
