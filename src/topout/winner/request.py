"""What a user asks when a stack is loaded, and when it generates."""

import os
from typing import Annotated

import msgspec

from topout.generation.request import GenerationDtype
from topout.models.known import DEFAULT_MODEL
from topout.options import MOST_SEED, Device, Option, Request

DEFAULT_NEW_TOKENS = 128
STANDARD_INPUT = "-"


class LoadRequest(Request, frozen=True, kw_only=True):
    """Which model under which stack; None stands for what was climbed, or the model's default."""

    model: Annotated[
        str,
        Option("A model, or the folder of a climb.", positional=True, metavar="MODEL_OR_CLIMB"),
    ] = DEFAULT_MODEL
    stack: Annotated[
        str | None,
        Option(
            "Rungs with + between; default: the best of the climb, else static_cache.",
            metavar="NAME+…",
        ),
    ] = None
    exact: Annotated[
        bool, Option("Of a climb, the best stack that leaves the output unchanged.")
    ] = False
    moved_to: Annotated[
        str | None, Option("Where the model of a climb lies by now.", metavar="MODEL")
    ] = None
    random_weights: Annotated[bool, Option("Make the weights of a known model from --seed.")] = (
        False
    )
    seed: Annotated[int, Option("Of random weights.", least=0, most=MOST_SEED)] = 0
    draft: Annotated[str | None, Option("A smaller model to speculate with.", metavar="MODEL")] = (
        None
    )
    device: Annotated[Device | None, Option("Where it runs; default: as climbed, else cpu.")] = None
    dtype: Annotated[
        GenerationDtype | None,
        Option("Of the baseline; default: as climbed, else as published where that is run here."),
    ] = None
    threads: Annotated[int | None, Option("CPU threads; default: as climbed.", least=1)] = None
    context_len: Annotated[
        int | None, Option("Most tokens of prompt and answer; default: the model's.", least=2)
    ] = None

    def __post_init__(self) -> None:
        """A path may be given as one."""
        for name in ("model", "moved_to", "draft"):
            value = getattr(self, name)
            if isinstance(value, os.PathLike):
                msgspec.structs.force_setattr(self, name, os.fspath(value))
        super().__post_init__()


MaxNewTokens = Annotated[int, Option("Tokens to generate at most.", least=1)]
Temperature = Annotated[float, Option("Of sampling; 0 is greedy.", least=0)]
TopK = Annotated[int | None, Option("Sample among the k likeliest.", least=1)]
TopP = Annotated[
    float | None,
    Option("Sample among the likeliest that have this probability.", above=0, most=1),
]
Stop = Annotated[
    list[str] | None, Option("A text to end before; more than one may be given.", commas=False)
]


class SamplingRequest(Request, frozen=True, kw_only=True):
    """How tokens are chosen, and when the text ends: what a loaded model takes with a prompt."""

    max_new_tokens: MaxNewTokens = DEFAULT_NEW_TOKENS
    temperature: Temperature = 0.0
    top_k: TopK = None
    top_p: TopP = None
    seed: Annotated[int | None, Option("Of sampling.", least=0, most=MOST_SEED)] = None
    stop: Stop = None


class GenerateRequest(LoadRequest, frozen=True, kw_only=True):
    """The options of `topout generate`: a prompt, and those of both."""

    text: Annotated[
        str, Option("What to continue; - or none: standard input.", positional=True)
    ] = STANDARD_INPUT
    max_new_tokens: MaxNewTokens = DEFAULT_NEW_TOKENS
    temperature: Temperature = 0.0
    top_k: TopK = None
    top_p: TopP = None
    seed: Annotated[int, Option("Of sampling, and of random weights.", least=0, most=MOST_SEED)] = 0
    stop: Stop = None

    def sampling(self) -> SamplingRequest:
        """The part that goes with each prompt."""
        return SamplingRequest(
            **{name: getattr(self, name) for name in SamplingRequest.__struct_fields__}
        )
