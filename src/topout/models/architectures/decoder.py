"""GPT-2 and the Llama family: what `ModelConfig` reads, as an architecture."""

import msgspec

from topout.models.architecture import Architecture, Attention, Block, Embedding, Head, Mlp
from topout.models.config import ModelConfig
from topout.models.fields import Fields, notes, read_sliding_layers

_COUNTED_AS = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}


def stack_layers(
    layers: list[Block], slides: list[bool] | None = None, window: int | None = None
) -> list[Block]:
    """Equal layers as one stack each, in the order of first appearance.

    Where `slides` is true the layer sees `window` tokens only; without a window all see all.
    Models whose layers alternate in kind become one stack per kind.
    """
    if slides is not None and window is not None and any(slides):
        layers = [
            _sliding(layer, window) if slide else _named(layer, "full")
            for layer, slide in zip(layers, slides, strict=True)
        ]
    stacks: list[Block] = []
    for layer in layers:
        for index, stack in enumerate(stacks):
            if msgspec.structs.replace(stack, count=layer.count) == layer:
                stacks[index] = msgspec.structs.replace(stack, count=stack.count + layer.count)
                break
        else:
            stacks.append(layer)
    return stacks


def _sliding(layer: Block, window: int) -> Block:
    attention = msgspec.structs.replace(layer.attention, window=window)
    return msgspec.structs.replace(_named(layer, "sliding"), attention=attention)


def _named(layer: Block, kind: str) -> Block:
    return msgspec.structs.replace(layer, name=f"{kind}_{layer.name}")


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
        weights_dtype=config.weights_dtype,
    )


def language_head(width: int, vocab_size: int, tied: bool) -> Head:
    """The layer that turns a decoder's output into logits."""
    return Head(name="head", inputs=width, outputs=vocab_size, bias=False, tied=tied, per="token")


def read_decoder(fields: Fields) -> Architecture:
    """GPT-2, Llama, Mistral, Qwen2 or Qwen3, also where topout could not run it.

    Counted beyond `ModelConfig`: stored quantized, or with a sliding window in some layers only.
    """
    raw = {key: value for key, value in fields.raw.items() if key != "quantization_config"}
    may_mix_windows = raw.get("model_type") in ("qwen2", "qwen3")
    if may_mix_windows:
        raw |= {"use_sliding_window": False}
    config = ModelConfig.from_hugging_face(raw, fields.source)
    architecture = architecture_of(config)
    if may_mix_windows and fields.flag("use_sliding_window", False):
        architecture = msgspec.structs.replace(
            architecture, blocks=_qwen_blocks(fields, architecture.blocks[0])
        )
    return msgspec.structs.replace(architecture, not_counted=notes(fields, architecture.counted_as))


def _qwen_blocks(fields: Fields, block: Block) -> list[Block]:
    full_layers = fields.integer("max_window_layers", 28, least=0)
    slides = read_sliding_layers(fields, [layer >= full_layers for layer in range(block.count)])
    single = msgspec.structs.replace(block, count=1)
    return stack_layers([single] * block.count, slides, read_window(fields))


def read_window(fields: Fields) -> int | None:
    """The tokens that a sliding layer sees: 4096 where none are stated, all where null is."""
    is_null = "sliding_window" in fields.raw and not fields.has("sliding_window")
    return None if is_null else fields.integer("sliding_window", 4096)


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
