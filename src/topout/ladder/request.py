"""What a user asks of a climb, checked before anything is measured."""

import math

import msgspec

from topout.errors import InputError
from topout.machine.ceilings import check_device
from topout.models.config import ModelConfig
from topout.records import Dtype

PUBLISHED_PROMPT_LEN = 835  # of the course that the reference figures for GPT-2 come from
DEFAULT_NEW_TOKENS = 128
DTYPES: tuple[Dtype, ...] = ("fp32", "bf16")


class ClimbRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `topout climb`; None stands for a default that depends on the model."""

    model: str
    random_weights: bool = False
    draft: str | None = None
    prompt_len: int | None = None
    new_tokens: int = DEFAULT_NEW_TOKENS
    batch_size: int = 1
    threads: int | None = None
    device: str = "cpu"
    dtype: Dtype | None = None
    temperature: float = 0.0
    top_k: int | None = None
    seed: int = 0
    rungs: list[str] | None = None
    max_loss: float = 0.01
    text: str | None = None
    time_per_rung_s: float = 20.0
    rung_timeout_s: float = 600.0
    quick: bool = False

    def check(self) -> None:
        """Raise InputError that names the first option that cannot be meant."""
        _positive("--new-tokens", self.new_tokens, 2)
        _positive("--batch-size", self.batch_size, 1)
        if self.prompt_len is not None:
            _positive("--prompt-len", self.prompt_len, 1)
        if self.threads is not None:
            _positive("--threads", self.threads, 1)
        if self.top_k is not None:
            _positive("--top-k", self.top_k, 1)
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise InputError(
                f"--temperature {self.temperature:g} is no temperature.",
                "Give 0 for greedy, or more.",
            )
        if not (self.max_loss >= 0 and math.isfinite(self.max_loss)):
            raise InputError(f"--max-loss {self.max_loss:g} is no share.", "Give 0.01 for 1 %.")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"--seed {self.seed} is no seed.", "Give 0 to 2⁶³ − 1.")
        check_device(self.device)
        if self.dtype is not None and self.dtype not in DTYPES:
            raise InputError(f"unknown dtype {self.dtype!r}.", f"Give {' or '.join(DTYPES)}.")
        _positive_time("--time-per-rung", self.time_per_rung_s)
        _positive_time("--rung-timeout", self.rung_timeout_s)

    def prompt_len_for(self, config: ModelConfig) -> int:
        """The prompt's length; raises InputError when it does not fit the context."""
        length = self.prompt_len or default_prompt_len(config, self.new_tokens)
        if length + self.new_tokens > config.context_len:
            raise InputError(
                f"a prompt of {length} and {self.new_tokens} new tokens do not fit into the "
                f"context of {config.context_len} tokens of {config.name}.",
                "Give a smaller --prompt-len or --new-tokens.",
            )
        return length

    def threads_for(self, usable_cpus: int) -> int:
        """The number of threads; raises InputError when there are not so many CPUs."""
        threads = self.threads or usable_cpus
        if threads > usable_cpus:
            raise InputError(
                f"--threads {threads} is more than the {usable_cpus} CPUs that may be used here.",
                f"Give at most {usable_cpus}.",
            )
        return threads


def default_prompt_len(config: ModelConfig, new_tokens: int) -> int:
    """The published prompt where it fits with room to spare, else half of the context."""
    if PUBLISHED_PROMPT_LEN + new_tokens + 16 <= config.context_len:
        return PUBLISHED_PROMPT_LEN
    return max(1, min(config.context_len // 2, config.context_len - new_tokens - 16))


def _positive_time(option: str, value_s: float) -> None:
    if not (value_s > 0 and math.isfinite(value_s)):
        raise InputError(f"{option} {value_s:g} is no span of time.", "Give seconds above 0.")


def _positive(option: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{option} {value} is too small.", f"Give at least {least}.")
