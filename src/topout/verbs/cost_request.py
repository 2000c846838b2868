"""What a user asks of `topout cost` and its sub-commands, checked before anything is counted."""

from typing import Annotated, Literal, NamedTuple

import msgspec

from topout.cost.hardware_times import MODES
from topout.cost.ops import ELEMENT_BYTES
from topout.cost.training import Recompute
from topout.errors import InputError
from topout.models.architecture import WITHOUT_TOKENS, Architecture
from topout.models.known import DEFAULT_MODEL
from topout.models.precision import Precision
from topout.models.stored_weights import StoredWeights
from topout.options import Option, Request, fields_of
from topout.records import CostWorkload, ExampleName

ActivationDtype = Literal["fp32", "bf16", "fp16"]
KvDtype = Literal["fp32", "bf16", "fp16", "fp8", "int8"]
UNQUANTIZED = "none"
QUANTIZED = tuple(
    name for name in ELEMENT_BYTES if name.startswith(("int", "fp8", "nf", "mx", "nv"))
)
_USUAL = ("int8", "int4-g128", "fp8", "nf4", "mxfp4", "nvfp4", UNQUANTIZED)
DEFAULT_PROMPT_LEN = 512
DEFAULT_NEW_TOKENS = 128

Model = Annotated[
    str,
    Option("A name, a folder, a config.json, a hub id; own code: FILE.py:Class.", positional=True),
]
Inputs = Annotated[
    list[str],
    Option("Of own code, in order: 1x3x224x224, 1x128:int64.", metavar="SHAPE", commas=False),
]
Machines = Annotated[
    list[str],
    Option(
        "A machine, or a file of one; here: this one; can be repeated.",
        metavar="NAME",
        commas=False,
    ),
]
BatchSize = Annotated[int, Option("Sequences, or images, at a time.", least=1)]
Length = Annotated[int | None, Option("Tokens of the input.", flag="--prompt-len", least=1)]
Threads = Annotated[int | None, Option("CPU threads here; default: all.", least=1)]
ImageSize = Annotated[int | None, Option("Pixels a side, of image models.", least=1)]


class CostRequest(Request, frozen=True, kw_only=True):
    """A model, a workload, and the machines to predict for; None stands for a sensible default.

    `on` holds names of machines or files; "here" is this one, measured where it was not yet.
    Without any, this machine is taken if it was measured before. Sizes are checked against the
    model later.
    """

    model: Model = DEFAULT_MODEL
    input: Inputs = msgspec.field(default_factory=list)
    on: Machines = msgspec.field(default_factory=list)
    prompt_len: Annotated[
        int | None, Option("Tokens of the prompt; default: 512, or as many as fit.", least=1)
    ] = None
    context_len: Annotated[
        int | None, Option("Tokens that a decoded one sees; default: prompt + 128.", least=1)
    ] = None
    batch_size: BatchSize = 1
    dtype: Annotated[
        ActivationDtype | None, Option("Of weights and activations; default: as published.")
    ] = None
    quantize: Annotated[
        str | None,
        Option(
            f"Weights of linear layers: {', '.join(_USUAL)}, …; default: as published.",
            metavar="FORMAT",
            choices=(*QUANTIZED, UNQUANTIZED),
        ),
    ] = None
    kv_dtype: Annotated[KvDtype | None, Option("Of the KV cache; default: --dtype.")] = None
    tensor_parallel: Annotated[
        int, Option("Devices that share each layer.", flag="--tp", least=1)
    ] = 1
    sequence_parallel: Annotated[
        bool, Option("With --tp: they share norms and residuals too, in training.")
    ] = False
    data_parallel: Annotated[
        int, Option("Replicas, each with a batch of its own, in training.", flag="--dp", least=1)
    ] = 1
    pipeline_parallel: Annotated[
        int, Option("Devices that share the layers, as stages.", flag="--pp", least=1)
    ] = 1
    micro_batches: Annotated[
        int | None,
        Option("Parts of a training batch; default: with --pp one sequence each.", least=1),
    ] = None
    interleave: Annotated[
        int, Option("Chunks of layers on each device of --pp, in training.", least=1)
    ] = 1
    mode: Annotated[str, Option("How PyTorch runs it.", choices=MODES)] = "compiled"
    recompute: Annotated[Recompute, Option("Activations computed again in training.")] = "none"
    attention: Annotated[
        Literal["fused", "plain"], Option("In training: plain ones keep their scores.")
    ] = "fused"
    dropout: Annotated[bool, Option("In training: dropout is on, and its masks are kept.")] = False
    threads: Threads = None
    image_size: ImageSize = None
    split_head: bool = True
    full: Annotated[bool, Option("Op by op, memory tables and rules on the terminal.")] = False

    def workload(self, architecture: Architecture, precision: Precision) -> CostWorkload:
        """The request with the model's own defaults filled in."""
        limit = architecture.context_len
        if architecture.kind in WITHOUT_TOKENS:
            prompt_len = context_len = limit or 1
        else:
            prompt_len = _given(self.prompt_len, DEFAULT_PROMPT_LEN, limit)
            context_len = _given(self.context_len, prompt_len + DEFAULT_NEW_TOKENS, limit)
        dtype = precision.dtype
        weights = _weights(self.quantize, architecture.stored_weights, dtype)
        return CostWorkload(
            prompt_len=prompt_len,
            context_len=context_len,
            batch_size=architecture.samples or self.batch_size,
            dtype=dtype,
            dtype_origin=precision.origin,
            weight_dtype=weights.dtype,
            weight_origin=weights.origin,
            unquantized_parts=list(weights.unquantized_parts),
            kv_dtype=self.kv_dtype or dtype,
            tensor_parallel=self.tensor_parallel,
            data_parallel=self.data_parallel,
            pipeline_parallel=self.pipeline_parallel,
            micro_batches=self.micro_batches,
            interleave=self.interleave,
            sequence_parallel=self.sequence_parallel,
            attention=self.attention,
            dropout=self.dropout,
            mode=self.mode,
        )


class LayersRequest(Request, frozen=True, kw_only=True):
    """The options of `topout cost layers`."""

    model: Model = DEFAULT_MODEL
    batch_size: BatchSize = 1
    length: Length = None
    input: Inputs = msgspec.field(default_factory=list)
    head: Annotated[
        Literal["none", "lm", "masked-lm", "seq2seq", "classify", "tokens", "answers"] | None,
        Option("What the model ends in; default: as its config says."),
    ] = None
    depth: Annotated[int | None, Option("How deep; 0: the model alone; default: all.", least=0)] = (
        None
    )
    expand: Annotated[bool, Option("Show every one of equal blocks.")] = False
    dtype: Annotated[ActivationDtype | None, Option("Of the weights; default: as published.")] = (
        None
    )


def refuse_for_own_code(request: Request, *names: str) -> None:
    """Raise InputError for an option that a module of the user's own does not have."""
    for field in fields_of(type(request)):
        if field.name in names and getattr(request, field.name) != field.default:
            raise InputError(
                f"{field.flag} is for models of transformers, not for code of your own.",
                "Its --input says how large it is.",
            )


def refuse_inputs(inputs: list[str]) -> None:
    """Raise InputError for inputs that are given to a model of transformers."""
    if inputs:
        raise InputError(
            "--input is for a module of your own.", "Name it as FILE.py:Class or module:function."
        )


class CheckRequest(Request, frozen=True, kw_only=True):
    """The options of `topout cost check`."""

    model: Model = DEFAULT_MODEL
    batch_size: BatchSize = 1
    length: Length = None
    image_size: ImageSize = None


class ExampleRequest(Request, frozen=True, kw_only=True):
    """The options of `topout cost example`; without machines, or with "here", it is measured."""

    name: Annotated[ExampleName, Option("What to work through.", positional=True)]
    n: Annotated[int | None, Option("Its size.", least=1)] = None
    on: Machines = msgspec.field(default_factory=list)
    threads: Threads = None


class _Weights(NamedTuple):
    dtype: str
    origin: str = ""
    unquantized_parts: tuple[str, ...] = ()


def _weights(asked: str | None, stored: StoredWeights | None, dtype: str) -> _Weights:
    """The format of the weights: as asked, else as the checkpoint stores them, where it is known.

    With another format asked for the head is quantized as well.
    """
    published = (stored.dtype or stored.method) if stored else None
    more = f"; published in {published}" if published not in (None, asked) else ""
    if asked == UNQUANTIZED:
        return _Weights(dtype, f"as asked{more}")
    if asked is not None:
        return _Weights(asked, f"as asked{more}")
    if stored is None:
        return _Weights(dtype)
    if stored.dtype is None:
        return _Weights(dtype, f"published in {stored.method}, which is not counted")
    return _Weights(stored.dtype, f"as published, {stored.method}", stored.unquantized_parts)


def _given(stated: int | None, default: int, limit: int | None) -> int:
    """What was stated, right or wrong; a default never exceeds the model's limit."""
    if stated is not None:
        return stated
    return default if limit is None else min(default, limit)
