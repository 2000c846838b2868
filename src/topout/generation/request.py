"""What a user asks of a verb that generates, checked before anything is measured."""

from typing import Annotated, ClassVar, Literal, cast

from topout import units
from topout.errors import InputError
from topout.models.config import DTYPE_BYTES, ModelConfig
from topout.models.known import DEFAULT_MODEL
from topout.models.pass_config import PassConfig, parameters_of
from topout.models.precision import Precision, precision_of, stand_ins
from topout.models.source import ModelSource, PassSource
from topout.options import MOST_SEED, Device, Option, Request
from topout.records import Dtype, Machine, WorkloadSummary

Backend = Literal["decoder", "transformers"]
GenerationDtype = Literal["fp32", "bf16"]
PUBLISHED_PROMPT_LEN = 835  # of the course that the reference figures for GPT-2 come from
DEFAULT_NEW_TOKENS = 128
MOST_NEW_TOKENS = 1 << 20  # one after the other: the quickest model takes minutes
DEFAULT_SEQUENCE_LEN = 128  # of an encoder

BackendOption = Annotated[
    Backend, Option("The model as this program builds it, or as transformers does.")
]


def allowed_threads(threads: int, usable_cpus: int) -> int:
    """So many threads; raises InputError when there are not so many CPUs."""
    if threads > usable_cpus:
        raise InputError(
            f"--threads {threads} is more than the {usable_cpus} CPUs that may be used here.",
            f"Give at most {usable_cpus}.",
        )
    return threads


class GenerationRequest(Request, frozen=True, kw_only=True):
    """The options of every verb that generates; None stands for a default of the model's."""

    default_new_tokens: ClassVar[int] = DEFAULT_NEW_TOKENS

    model: Annotated[str, Option("A name, a folder or a hub id.", positional=True)] = DEFAULT_MODEL
    random_weights: Annotated[bool, Option("Make the weights of a known model from --seed.")] = (
        False
    )
    prompt_len: Annotated[
        int | None,
        Option(
            "Tokens of the prompt, or of an encoder's sequences; default: 835, or as many as fit; "
            "of an encoder 128.",
            least=1,
        ),
    ] = None
    new_tokens: Annotated[int, Option("Tokens to generate.", least=2, most=MOST_NEW_TOKENS)] = (
        DEFAULT_NEW_TOKENS
    )
    batch_size: Annotated[int, Option("Sequences or images at a time.", least=1)] = 1
    image_size: Annotated[
        int | None,
        Option("Pixels on a side, where images go in; default: as trained.", least=1),
    ] = None
    threads: Annotated[int | None, Option("CPU threads; default: all.", least=1)] = None
    dtype: Annotated[
        GenerationDtype | None,
        Option("Of weights and activations; default: as published, where that is run here."),
    ] = None
    seed: Annotated[int, Option("Of random weights and of sampling.", least=0, most=MOST_SEED)] = 0
    text: Annotated[
        list[str] | None,
        Option(
            "A text file to prompt with, and to verify with; more than one may be given.",
            metavar="FILE",
            commas=False,
        ),
    ] = None

    def check(self) -> None:
        """Raise InputError or OutputError for options that do not go together."""

    def prompt_len_for(self, config: ModelConfig | PassConfig) -> int:
        """The prompt's length; raises InputError when it does not fit the context."""
        if isinstance(config, PassConfig):
            return self._sequence_len(config)
        length = self.prompt_len or default_prompt_len(config, self.new_tokens)
        if length + self.new_tokens > config.context_len:
            raise InputError(
                f"a prompt of {length} and {self.new_tokens} new tokens do not fit into the "
                f"context of {config.context_len} tokens of {config.name}.",
                "Give a smaller --prompt-len or --new-tokens.",
            )
        return length

    def _sequence_len(self, config: PassConfig) -> int:
        """Tokens of a sequence of an encoder; 0 where images go in."""
        if self.new_tokens != self.default_new_tokens:
            raise InputError(
                f"{config.name} runs in one pass and generates nothing.",
                "Leave --new-tokens out for this model.",
            )
        if config.takes == "images":
            if self.prompt_len is not None:
                raise InputError(f"{config.name} takes images.", "Leave --prompt-len out.")
            return 0
        length = self.prompt_len or min(DEFAULT_SEQUENCE_LEN, config.context_len)
        if length > config.context_len:
            raise InputError(
                f"{length} tokens do not fit into the {config.context_len} positions of "
                f"{config.name}.",
                "Give a smaller --prompt-len.",
            )
        return length

    def threads_for(self, usable_cpus: int) -> int:
        """The number of threads; raises InputError when there are not so many CPUs."""
        return allowed_threads(self.threads or usable_cpus, usable_cpus)

    def precision_for(self, source: ModelSource | PassSource, machine: Machine) -> Precision:
        """The precision to run in; raises InputError as `precision_of` does."""
        usable = stand_ins(machine, self.runs_on)
        return precision_of(source.name, source.published_dtype, self.dtype, usable)

    @property
    def runs_on(self) -> Device:
        """The device; verbs with a --device overrule it."""
        return "cpu"

    @property
    def loads_weights(self) -> bool:
        """Whether the model comes into memory at all."""
        return True

    def workload(self, source: ModelSource | PassSource, machine: Machine) -> WorkloadSummary:
        """What is run.

        Raises InputError where the prompt or the threads do not fit, or the precision is not run.
        """
        precision = self.precision_for(source, machine)
        config = source.config
        runs_once = isinstance(config, PassConfig)
        return WorkloadSummary(
            task="forward" if runs_once else "generate",
            prompt_len=self.prompt_len_for(config),
            new_tokens=0 if runs_once else self.new_tokens,
            image_size=(config.image_size or None) if isinstance(config, PassConfig) else None,
            batch_size=self.batch_size,
            threads=self.threads_for(machine.usable_cpus),
            device=self.runs_on,
            dtype=cast(Dtype, precision.dtype),
            dtype_origin=precision.origin,
            temperature=0.0,
            seed=self.seed,
        )


def check_memory(
    config: ModelConfig | PassConfig, workload: WorkloadSummary, memory_bytes: int
) -> None:
    """Raise InputError where the weights and the KV cache alone are more than a machine's memory.

    Of each layer K and V of every token are kept: 2 · layers · KV width · tokens · sequences.
    """
    element_bytes = DTYPE_BYTES[workload.dtype]
    weights = parameters_of(config) * element_bytes
    needed, cache, remedy = f"{units.memory(weights)} for its weights", 0, "Give a smaller model."
    if isinstance(config, ModelConfig):
        tokens = workload.batch_size * (workload.prompt_len + workload.new_tokens)
        cache = 2 * config.layers * config.kv_width * tokens * element_bytes
        needed += f" and {units.memory(cache)} for the KV cache of {tokens} tokens"
        remedy = "Give a smaller model, --batch-size or --prompt-len."
    if weights + cache > memory_bytes:
        raise InputError(
            f"{config.name} needs {needed}, and this machine has {units.memory(memory_bytes)}.",
            remedy,
        )


def default_prompt_len(config: ModelConfig, new_tokens: int) -> int:
    """The published prompt where it fits with room to spare, else half of the context."""
    if PUBLISHED_PROMPT_LEN + new_tokens + 16 <= config.context_len:
        return PUBLISHED_PROMPT_LEN
    return max(1, min(config.context_len // 2, config.context_len - new_tokens - 16))
