"""`ModelConfig`: the shape of a decoder, read from a Hugging Face `config.json`.

GPT-2 and the Llama family are what topout runs; `architecture_of` is what it counts of them.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from topout.errors import InputError, UnsupportedError
from topout.input_file import MOST_CONFIG_BYTES, parse_json, read_input
from topout.models.architecture import (
    Architecture,
    Attention,
    Block,
    Embedding,
    Mlp,
    language_head,
    stack_layers,
)
from topout.models.fields import (
    ACTIVATIONS,
    Activation,
    Fields,
    check_heads,
    notes,
    read_activation,
    read_kv_heads,
    read_sliding_layers,
    read_window,
)
from topout.models.rope import DEFAULT_THETA, SCALINGS, RopeScaling, read_rope
from topout.records import Dtype

ARCHITECTURES = ["gpt2", "llama", "mistral", "qwen2", "qwen3"]

Norm = Literal["layer_norm", "rms_norm"]
Positions = Literal["learned", "rope"]

DTYPE_BYTES: dict[Dtype, int] = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}


# What transformers takes for an absent `num_key_value_heads`; for null, as many as heads.
_KV_HEADS = {"mistral": 8, "qwen2": 32, "qwen3": 32}
_POSITIONS = {"llama": 2048, "mistral": 131_072, "qwen2": 32_768, "qwen3": 32_768}
_COUNTED_AS = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of a decoder-only transformer: GPT-2 or one of the Llama family."""

    name: str
    architecture: str  # Hugging Face model_type, one of ARCHITECTURES
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    mlp_width: int
    vocab_size: int
    context_len: int
    norm: Norm
    norm_eps: float
    activation: Activation
    gated_mlp: bool
    positions: Positions
    rope_theta: float = DEFAULT_THETA  # no meaning with learned positions
    rope_scaling: RopeScaling | None = None
    sliding_window: int | None = None  # a token sees itself and the sliding_window - 1 before it
    qkv_bias: bool
    attention_bias: bool  # of the output projection
    mlp_bias: bool
    qk_norm: bool = False  # RMS norm of each query and key head before the rotation
    scaled_attention: bool = True  # scores times 1/sqrt(head_size)
    layer_scaled_attention: bool = False  # scores of layer i also times 1/(i + 1)
    tied_head: bool

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise InputError(
                f"{self.name}: {self.kv_heads} key/value heads do not divide {self.heads} heads.",
                "Correct `num_key_value_heads` in config.json.",
            )
        if self.positions == "rope" and self.head_size % 2:
            raise InputError(
                f"{self.name}: rotary positions need an even head size, not {self.head_size}.",
                "Correct `head_dim` in config.json.",
            )

    @classmethod
    def from_hugging_face(cls, config: dict[str, Any], name: str) -> "ModelConfig":
        """The config that a parsed `config.json` describes.

        Takes the spellings of transformers 4 and 5. Raises InputError that names a missing,
        wrongly typed or contradictory field, UnsupportedError that names what is not supported.
        """
        fields = Fields(config, name)
        architecture = fields.text("model_type")
        if architecture not in ARCHITECTURES:
            raise UnsupportedError(
                f"{name}: architecture {architecture!r} is not supported.",
                f"Supported decoders are {', '.join(ARCHITECTURES)}; `topout cost` counts others.",
            )
        if fields.has("quantization_config"):
            raise UnsupportedError(
                f"{name}: its weights are stored quantized (`quantization_config`).",
                "Give the unquantized checkpoint; topout quantizes it itself.",
            )
        return _read_gpt2(fields) if architecture == "gpt2" else _read_llama(fields, architecture)

    @property
    def query_width(self) -> int:
        """Outputs of the query projection."""
        return self.heads * self.head_size

    @property
    def kv_width(self) -> int:
        """Outputs of the key projection, and of the value projection."""
        return self.kv_heads * self.head_size

    def attention_scale(self, layer: int) -> float:
        """What the attention scores of `layer` are multiplied by."""
        scale: float = self.head_size**-0.5 if self.scaled_attention else 1.0
        return scale / (layer + 1) if self.layer_scaled_attention else scale


def read_config(folder: Path) -> ModelConfig:
    """The config in a model folder; raises InputError when there is none or it is not JSON."""
    return ModelConfig.from_hugging_face(read_config_json(folder), folder.name)


def read_config_json(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder, parsed; raises InputError that names the file."""
    return read_json_object(folder / "config.json")


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; raises InputError that names the file."""
    try:
        raw = parse_json(read_input(path, MOST_CONFIG_BYTES))
    except FileNotFoundError:
        raise InputError(
            f"{path.parent} has no {path.name}.", "Give a folder in the Hugging Face layout."
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.", "Check the path.") from None
    except ValueError as error:
        raise InputError(
            f"{path} is not valid JSON ({error}).", "Download or write it again."
        ) from None
    if not isinstance(raw, dict):
        raise InputError(f"{path} does not hold a JSON object.", "Download or write it again.")
    return raw


def _read_gpt2(fields: Fields) -> ModelConfig:
    width, heads = fields.integer("n_embd"), fields.integer("n_head")
    check_heads(fields, width, heads)
    if fields.flag("add_cross_attention", False):
        raise UnsupportedError(
            f"{fields.source}: cross-attention is not supported.", "Choose a decoder-only model."
        )
    return ModelConfig(
        name=fields.source,
        architecture="gpt2",
        layers=fields.integer("n_layer"),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_size=width // heads,
        mlp_width=fields.integer("n_inner", 4 * width),
        vocab_size=fields.integer("vocab_size"),
        context_len=fields.integer("n_positions", 1024),
        norm="layer_norm",
        norm_eps=fields.number("layer_norm_epsilon", 1e-5),
        activation=read_activation(fields, "activation_function", "gelu_new"),
        gated_mlp=False,
        positions="learned",
        qkv_bias=True,
        attention_bias=True,
        mlp_bias=True,
        scaled_attention=fields.flag("scale_attn_weights", True),
        layer_scaled_attention=fields.flag("scale_attn_by_inverse_layer_idx", False),
        tied_head=fields.flag("tie_word_embeddings", True),
    )


def _read_llama(fields: Fields, architecture: str) -> ModelConfig:
    width, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    # A stated head size frees the width, except in Llama.
    if architecture == "llama" or not (architecture == "qwen3" or fields.has("head_dim")):
        check_heads(fields, width, heads)
    layers = fields.integer("num_hidden_layers")
    context_len = fields.integer("max_position_embeddings", _POSITIONS[architecture])
    rope_theta, rope_scaling = read_rope(fields, context_len)
    # Qwen2 always has biases on Q, K and V alone; Mistral has none; Llama and Qwen3 state it.
    stated_bias = architecture in ("llama", "qwen3") and fields.flag("attention_bias", False)
    head_size = 128 if architecture == "qwen3" else width // heads  # transformers' defaults
    return ModelConfig(
        name=fields.source,
        architecture=architecture,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=read_kv_heads(fields, heads, _KV_HEADS.get(architecture, heads)),
        head_size=fields.integer("head_dim", head_size),
        mlp_width=fields.integer("intermediate_size"),
        vocab_size=fields.integer("vocab_size"),
        context_len=context_len,
        norm="rms_norm",
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        activation=read_activation(fields, "hidden_act", "silu"),
        gated_mlp=True,
        positions="rope",
        rope_theta=rope_theta,
        rope_scaling=rope_scaling,
        sliding_window=_sliding_window(fields, architecture, layers),
        qkv_bias=architecture == "qwen2" or stated_bias,
        attention_bias=stated_bias,
        mlp_bias=architecture == "llama" and fields.flag("mlp_bias", False),
        qk_norm=architecture == "qwen3",
        tied_head=fields.flag("tie_word_embeddings", False),
    )


def _sliding_window(fields: Fields, architecture: str, layers: int) -> int | None:
    """The window that all layers share; raises UnsupportedError when only some layers have one."""
    if architecture == "llama":
        return None
    if architecture == "mistral":
        return read_window(fields)
    if not fields.flag("use_sliding_window", False):
        return None
    slides = _qwen_slides(fields, layers)
    if not any(slides):
        return None
    if not all(slides):
        raise UnsupportedError(
            f"{fields.source}: a sliding window in some layers only is not supported.",
            "Set `use_sliding_window` to false where the context stays within the window.",
        )
    return fields.integer("sliding_window", 4096)


def architecture_of(config: ModelConfig) -> Architecture:
    """The architecture of a decoder that topout can run."""
    embeddings = [Embedding(name="tokens", rows=config.vocab_size, width=config.width)]
    if config.positions == "learned":
        embeddings.append(Embedding(name="positions", rows=config.context_len, width=config.width))
    return Architecture(
        name=config.name,
        model_type=config.architecture,
        kind="decoder",
        counted_as=_COUNTED_AS[config.architecture],
        width=config.width,
        vocab_size=config.vocab_size,
        context_len=config.context_len,
        embeddings=embeddings,
        blocks=[_block(config)],
        final_norms=1,
        heads=[language_head(config.width, config.vocab_size, config.tied_head)],
    )


def read_decoder(fields: Fields) -> Architecture:
    """GPT-2, Llama, Mistral, Qwen2 or Qwen3, also where topout could not run it.

    Counted beyond `ModelConfig`: stored quantized, with a sliding window in some layers only, or
    with an activation or a scaling of positions that changes neither parameters nor products.
    """
    raw, instead = _without_unknown(fields)
    may_mix_windows = raw.get("model_type") in ("qwen2", "qwen3")
    if may_mix_windows:
        raw |= {"use_sliding_window": False}
    config = ModelConfig.from_hugging_face(raw, fields.source)
    architecture = architecture_of(config)
    if may_mix_windows and fields.flag("use_sliding_window", False):
        architecture = msgspec.structs.replace(
            architecture, blocks=_qwen_blocks(fields, architecture.blocks[0])
        )
    return msgspec.structs.replace(
        architecture, not_counted=[*notes(fields, architecture.counted_as), *instead]
    )


def _without_unknown(fields: Fields) -> tuple[dict[str, Any], list[str]]:
    """The fields that decide what is counted, and in words what others are counted as."""
    raw = {key: value for key, value in fields.raw.items() if key != "quantization_config"}
    instead = []
    for key in ("hidden_act", "activation_function"):
        name = raw.get(key)
        if isinstance(name, str) and name not in ACTIVATIONS:
            del raw[key]
            instead.append(f"Activation {name!r} is counted as one of as many numbers.")
    for key in ("rope_scaling", "rope_parameters"):
        scaling = fields.nested(key)
        kind = scaling.raw.get("rope_type", scaling.raw.get("type"))
        if isinstance(kind, str) and kind not in SCALINGS:
            del raw[key]
            instead.append(f"RoPE scaling {kind!r} changes no product, and is left out.")
    return raw, instead


def _qwen_blocks(fields: Fields, block: Block) -> list[Block]:
    single = msgspec.structs.replace(block, count=1)
    slides = _qwen_slides(fields, block.count)
    return stack_layers([single] * block.count, slides, read_window(fields))


def _qwen_slides(fields: Fields, layers: int) -> list[bool]:
    full_layers = fields.integer("max_window_layers", 28, least=0)
    return read_sliding_layers(fields, [layer >= full_layers for layer in range(layers)])


def _block(config: ModelConfig) -> Block:
    return Block(
        name="block",
        count=config.layers,
        width=config.width,
        attention=Attention(
            heads=config.heads,
            kv_heads=config.kv_heads,
            head_size=config.head_size,
            qkv_bias=config.qkv_bias,
            out_bias=config.attention_bias,
            causal=True,
            window=config.sliding_window,
            qk_norm=config.qk_norm,
            rotary=config.positions == "rope",
        ),
        mlp=Mlp(
            width=config.mlp_width,
            gated=config.gated_mlp,
            bias=config.mlp_bias,
            activation=config.activation,
        ),
        norm=config.norm,
        norm_bias=config.norm == "layer_norm",
    )
