"""Who made a known model, when, and who may have its weights."""

from typing import Literal, NamedTuple

Access = Literal["open", "gated", "closed"]  # gated: after a licence is accepted, or on request


class Facts(NamedTuple):
    """Of a family of models."""

    organisation: str
    access: Access
    released: str  # the month of its paper, or of its weights


# Names by what they begin with; the longest that fits counts.
_FACTS = {
    "pycode": Facts("Topout", "open", "2026-11"),
    "distilgpt2": Facts("Hugging Face", "open", "2019-11"),
    "gpt2": Facts("OpenAI", "open", "2019-02"),
    "gpt-3": Facts("OpenAI", "closed", "2020-05"),
    "gpt-oss": Facts("OpenAI", "open", "2025-08"),
    "llama-2": Facts("Meta", "gated", "2023-07"),
    "llama-3": Facts("Meta", "gated", "2024-04"),
    "llama-3.1": Facts("Meta", "gated", "2024-07"),
    "llama-3.2": Facts("Meta", "gated", "2024-09"),
    "llama-4": Facts("Meta", "gated", "2025-04"),
    "opt": Facts("Meta", "open", "2022-05"),
    "opt-175b": Facts("Meta", "gated", "2022-05"),
    "bart": Facts("Meta", "open", "2019-10"),
    "tinyllama": Facts("TinyLlama", "open", "2024-01"),
    "mistral": Facts("Mistral AI", "open", "2023-09"),
    "mixtral-8x7b": Facts("Mistral AI", "open", "2023-12"),
    "mixtral-8x22b": Facts("Mistral AI", "open", "2024-04"),
    "smollm2": Facts("Hugging Face", "open", "2024-11"),
    "smollm3": Facts("Hugging Face", "open", "2025-07"),
    "qwen1.5-moe": Facts("Alibaba", "open", "2024-03"),
    "qwen2": Facts("Alibaba", "open", "2024-06"),
    "qwen2.5": Facts("Alibaba", "open", "2024-09"),
    "qwen3": Facts("Alibaba", "open", "2025-04"),
    "qwen3-next": Facts("Alibaba", "open", "2025-09"),
    "gemma": Facts("Google", "gated", "2024-02"),
    "gemma-2": Facts("Google", "gated", "2024-06"),
    "gemma-2b": Facts("Google", "gated", "2024-02"),
    "gemma-3": Facts("Google", "gated", "2025-03"),
    "bert": Facts("Google", "open", "2018-10"),
    "albert": Facts("Google", "open", "2019-09"),
    "t5": Facts("Google", "open", "2019-10"),
    "mt5": Facts("Google", "open", "2020-10"),
    "flan-t5": Facts("Google", "open", "2022-10"),
    "vit": Facts("Google", "open", "2020-10"),
    "palm": Facts("Google", "closed", "2022-04"),
    "gopher": Facts("DeepMind", "closed", "2021-12"),
    "chinchilla": Facts("DeepMind", "closed", "2022-03"),
    "distilbert": Facts("Hugging Face", "open", "2019-10"),
    "roberta": Facts("Meta", "open", "2019-07"),
    "xlm-roberta": Facts("Meta", "open", "2019-11"),
    "resnet": Facts("Microsoft", "open", "2015-12"),
    "deberta-v3": Facts("Microsoft", "open", "2021-11"),
    "phi-2": Facts("Microsoft", "open", "2023-12"),
    "phi-3": Facts("Microsoft", "open", "2024-04"),
    "phi-4": Facts("Microsoft", "open", "2024-12"),
    "bloom": Facts("BigScience", "open", "2022-07"),
    "gpt-j": Facts("EleutherAI", "open", "2021-06"),
    "gpt-neox": Facts("EleutherAI", "open", "2022-02"),
    "falcon": Facts("TII", "open", "2023-05"),
    "starcoder2": Facts("BigCode", "open", "2024-02"),
    "mamba": Facts("CMU, Princeton", "open", "2023-12"),
    "olmo-2": Facts("Ai2", "open", "2024-11"),
    "granite-3.3": Facts("IBM", "open", "2025-04"),
    "glm-4": Facts("Zhipu AI", "open", "2025-04"),
    "glm-4.5": Facts("Zhipu AI", "open", "2025-07"),
    "deepseek-v2": Facts("DeepSeek", "open", "2024-05"),
    "deepseek-v3": Facts("DeepSeek", "open", "2024-12"),
    "deepseek-r1": Facts("DeepSeek", "open", "2025-01"),
    "kimi-k2": Facts("Moonshot AI", "open", "2025-07"),
    "minimax-m2": Facts("MiniMax", "open", "2025-10"),
    "modernbert": Facts("Answer.AI", "open", "2024-12"),
    "whisper-large-v3": Facts("OpenAI", "open", "2023-11"),
}


def facts_of(name: str) -> Facts | None:
    """Of a known model; None for another name."""
    fitting = [prefix for prefix in _FACTS if name == prefix or _continues(name, prefix)]
    return _FACTS[max(fitting, key=len)] if fitting else None


def _continues(name: str, prefix: str) -> bool:
    """A prefix ends where a name's part does: "t5" is of "t5-small", and not of "t50"."""
    return name.startswith(prefix) and name[len(prefix)] in "-."
