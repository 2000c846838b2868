"""The tensors of a checkpoint: their Hugging Face names and shapes, and what we make of them."""

from dataclasses import dataclass

from topout.models.config import ModelConfig

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Recipe:
    """How a tensor of `Decoder` is made of Hugging Face tensors."""

    sources: tuple[str, ...]  # concatenated along dimension 0
    transposed: bool = False  # GPT-2 stores its matrices as [in, out]


def expected_tensors(config: ModelConfig) -> dict[str, Shape]:
    """Name → shape of every tensor that a checkpoint of this config holds.

    The names are those of transformers' causal-LM model of the architecture; a tied head is no
    tensor of its own.
    """
    shapes = _gpt2_shapes(config) if config.architecture == "gpt2" else _llama_shapes(config)
    if not config.tied_head:
        shapes["lm_head.weight"] = (config.vocab_size, config.width)
    return shapes


def name_prefix(config: ModelConfig) -> str:
    """What every name but the head's begins with; checkpoints of the bare model leave it out."""
    return "transformer." if config.architecture == "gpt2" else "model."


def is_ignored(name: str, config: ModelConfig) -> bool:
    """Whether a stored tensor is a buffer of old versions or a copy of the tied embedding."""
    if name == "lm_head.weight":
        return config.tied_head
    return name.endswith((".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"))


def decoder_recipes(config: ModelConfig) -> dict[str, Recipe]:
    """Name of each parameter of `Decoder` → how it is made; a tied head comes from no recipe."""
    recipes = _gpt2_recipes(config) if config.architecture == "gpt2" else _llama_recipes(config)
    if not config.tied_head:
        recipes["head.weight"] = Recipe(("lm_head.weight",))
    return recipes


def _gpt2_shapes(config: ModelConfig) -> dict[str, Shape]:
    width, mlp_width = config.width, config.mlp_width
    shapes: dict[str, Shape] = {
        "transformer.wte.weight": (config.vocab_size, width),
        "transformer.wpe.weight": (config.context_len, width),
    }
    for layer in range(config.layers):
        block: dict[str, Shape] = {
            "ln_1.weight": (width,),
            "ln_1.bias": (width,),
            "attn.c_attn.weight": (width, 3 * width),
            "attn.c_attn.bias": (3 * width,),
            "attn.c_proj.weight": (width, width),
            "attn.c_proj.bias": (width,),
            "ln_2.weight": (width,),
            "ln_2.bias": (width,),
            "mlp.c_fc.weight": (width, mlp_width),
            "mlp.c_fc.bias": (mlp_width,),
            "mlp.c_proj.weight": (mlp_width, width),
            "mlp.c_proj.bias": (width,),
        }
        shapes |= {f"transformer.h.{layer}.{name}": shape for name, shape in block.items()}
    return shapes | {"transformer.ln_f.weight": (width,), "transformer.ln_f.bias": (width,)}


def _llama_shapes(config: ModelConfig) -> dict[str, Shape]:
    width, mlp_width = config.width, config.mlp_width
    block: dict[str, Shape] = {
        "input_layernorm.weight": (width,),
        "post_attention_layernorm.weight": (width,),
    }
    linears = [
        ("self_attn.q_proj", config.query_width, width, config.qkv_bias),
        ("self_attn.k_proj", config.kv_width, width, config.qkv_bias),
        ("self_attn.v_proj", config.kv_width, width, config.qkv_bias),
        ("self_attn.o_proj", width, config.query_width, config.attention_bias),
        ("mlp.gate_proj", mlp_width, width, config.mlp_bias),
        ("mlp.up_proj", mlp_width, width, config.mlp_bias),
        ("mlp.down_proj", width, mlp_width, config.mlp_bias),
    ]
    for name, out_width, in_width, has_bias in linears:
        block[f"{name}.weight"] = (out_width, in_width)
        if has_bias:
            block[f"{name}.bias"] = (out_width,)
    if config.qk_norm:
        block["self_attn.q_norm.weight"] = (config.head_size,)
        block["self_attn.k_norm.weight"] = (config.head_size,)
    shapes: dict[str, Shape] = {"model.embed_tokens.weight": (config.vocab_size, width)}
    for layer in range(config.layers):
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
    return shapes | {"model.norm.weight": (width,)}


def _gpt2_recipes(config: ModelConfig) -> dict[str, Recipe]:
    recipes = {
        "token_embedding.weight": Recipe(("transformer.wte.weight",)),
        "position_embedding.weight": Recipe(("transformer.wpe.weight",)),
        "norm.weight": Recipe(("transformer.ln_f.weight",)),
        "norm.bias": Recipe(("transformer.ln_f.bias",)),
    }
    modules = {
        "attention_norm": "ln_1",
        "attention.qkv": "attn.c_attn",
        "attention.output": "attn.c_proj",
        "mlp_norm": "ln_2",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
    }
    for layer in range(config.layers):
        for ours, theirs in modules.items():
            source = f"transformer.h.{layer}.{theirs}"
            is_matrix = not ours.endswith("norm")
            name = f"blocks.{layer}.{ours}"
            recipes[f"{name}.weight"] = Recipe((f"{source}.weight",), transposed=is_matrix)
            recipes[f"{name}.bias"] = Recipe((f"{source}.bias",))
    return recipes


def _llama_recipes(config: ModelConfig) -> dict[str, Recipe]:
    recipes = {
        "token_embedding.weight": Recipe(("model.embed_tokens.weight",)),
        "norm.weight": Recipe(("model.norm.weight",)),
    }
    modules = {
        "attention_norm": ["input_layernorm"],
        "attention.qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        "attention.output": ["self_attn.o_proj"],
        "attention.query_norm": ["self_attn.q_norm"],
        "attention.key_norm": ["self_attn.k_norm"],
        "mlp_norm": ["post_attention_layernorm"],
        "mlp.gate_up": ["mlp.gate_proj", "mlp.up_proj"],
        "mlp.down": ["mlp.down_proj"],
    }
    expected = expected_tensors(config)
    for layer in range(config.layers):
        for ours, theirs in modules.items():
            for kind in ("weight", "bias"):
                sources = tuple(f"model.layers.{layer}.{name}.{kind}" for name in theirs)
                if sources[0] in expected:
                    recipes[f"blocks.{layer}.{ours}.{kind}"] = Recipe(sources)
    return recipes
