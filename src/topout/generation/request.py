"""What a user asks of a verb that generates, checked before anything is measured."""

from typing import Literal

import msgspec

from topout.errors import InputError
from topout.models.config import ModelConfig
from topout.records import Dtype, WorkloadSummary

Backend = Literal["decoder", "transformers"]
BACKENDS: tuple[Backend, ...] = ("decoder", "transformers")
DTYPES: tuple[Dtype, ...] = ("fp32", "bf16")
PUBLISHED_PROMPT_LEN = 835  # of the course that the reference figures for GPT-2 come from
DEFAULT_NEW_TOKENS = 128


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The options of every verb that generates; None stands for a default of the model's."""

    model: str
    random_weights: bool = False
    prompt_len: int | None = None
    new_tokens: int = DEFAULT_NEW_TOKENS
    batch_size: int = 1
    threads: int | None = None
    dtype: Dtype | None = None
    seed: int = 0
    text: str | None = None

    def check(self) -> None:
        """Raise InputError that names the first option that cannot be meant."""
        at_least("--new-tokens", self.new_tokens, 2)
        at_least("--batch-size", self.batch_size, 1)
        at_least("--prompt-len", self.prompt_len, 1)
        at_least("--threads", self.threads, 1)
        if not 0 <= self.seed < 2**63:
            raise InputError(f"--seed {self.seed} is out of range.", "Give 0 to 2⁶³ − 1.")
        if self.dtype is not None:
            one_of("dtype", self.dtype, DTYPES)

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

    def workload(self, config: ModelConfig, usable_cpus: int) -> WorkloadSummary:
        """What is run; raises InputError where the prompt or the threads do not fit."""
        return WorkloadSummary(
            task="generate",
            prompt_len=self.prompt_len_for(config),
            new_tokens=self.new_tokens,
            batch_size=self.batch_size,
            threads=self.threads_for(usable_cpus),
            device="cpu",
            dtype=self.dtype or "fp32",
            temperature=0.0,
            seed=self.seed,
        )


def default_prompt_len(config: ModelConfig, new_tokens: int) -> int:
    """The published prompt where it fits with room to spare, else half of the context."""
    if PUBLISHED_PROMPT_LEN + new_tokens + 16 <= config.context_len:
        return PUBLISHED_PROMPT_LEN
    return max(1, min(config.context_len // 2, config.context_len - new_tokens - 16))


def at_least(option: str, value: int | None, least: int) -> None:
    """Raise InputError where an option that was given is below its least value."""
    if value is not None and value < least:
        raise InputError(f"{option} {value} is too small.", f"Give at least {least}.")


def one_of(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise InputError where a value is none of its choices."""
    if value not in choices:
        raise InputError(f"unknown {what} {value!r}.", f"Give {' or '.join(choices)}.")
