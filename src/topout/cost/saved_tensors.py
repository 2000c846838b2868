"""`SavedTensor`: what waits for the backward pass, and how model families differ in it.

The traits of the families were read in transformers 5.23's modeling files and are held by tests
that run them.
"""

import math
from collections.abc import Iterable
from typing import Literal

import msgspec

from topout.cost.training import TrainingStep
from topout.models.architecture import WITHOUT_TOKENS, Architecture, NormKind

FP32_BYTES = 4
INDEX_BYTES = 8  # PyTorch's int64


class EagerTraits(msgspec.Struct, frozen=True, kw_only=True):
    """Traits of one family's modules that change what is kept for backward."""

    softmax_in_fp32: bool = True  # scores are widened to fp32, and the result narrowed
    rms_norm: Literal["llama", "gemma", "t5"] = "llama"
    written_out_gelu: bool = False  # tanh-GELU as eight ops; four of their inputs are kept
    residual_dropout: bool = False  # on embeddings and on what a block adds to its input
    dropout_after_attention: bool = True  # of residual dropouts, the one on attention's output
    dropout_in_mlp: bool = False  # between activation and second matrix
    loss_in_fp32: bool = True  # logits are widened to fp32 before the loss


_ENCODER = EagerTraits(softmax_in_fp32=False, residual_dropout=True, loss_in_fp32=False)

_TRAITS = {
    "gpt2": EagerTraits(softmax_in_fp32=False, written_out_gelu=True, residual_dropout=True),
    "bert": _ENCODER,
    "roberta": _ENCODER,
    "distilbert": msgspec.structs.replace(_ENCODER, dropout_after_attention=False),
    "vit": EagerTraits(residual_dropout=True, loss_in_fp32=False),
    "resnet": EagerTraits(loss_in_fp32=False),
    "t5": EagerTraits(
        softmax_in_fp32=False,
        rms_norm="t5",
        written_out_gelu=True,
        residual_dropout=True,
        dropout_in_mlp=True,
        loss_in_fp32=False,
    ),
}


def eager_traits(model_type: str) -> EagerTraits:
    """The traits of a family; those of the Llama family for one that is not listed."""
    if model_type.startswith("gemma"):
        return EagerTraits(rms_norm="gemma")
    return _TRAITS.get(model_type, EagerTraits())


class SavedTensor(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor, or several of one kind, that waits for the backward pass."""

    name: str  # "mlp.activation_input"
    elements: int
    element_bytes: int
    sequence: bool = False  # lies along the tokens, so that sequence parallelism divides it
    core: bool = False  # of attention's core, which selective recomputation does not keep

    @property
    def bytes(self) -> int:
        """On one device, without sequence parallelism."""
        return self.elements * self.element_bytes


def device_bytes(tensors: Iterable[SavedTensor], step: TrainingStep) -> int:
    """What the tensors take on one device; sequence parallelism leaves it a share of some.

    Expects the tensors of one tensor-parallel device's part of the model.
    """
    ways = step.tensor_parallel if step.sequence_parallel else 1
    return sum(
        math.ceil(tensor.bytes / ways) if tensor.sequence else tensor.bytes for tensor in tensors
    )


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """`length` tokens of each of `batch` sequences, and how what is made of them is kept."""

    batch: int
    length: int
    step: TrainingStep
    traits: EagerTraits

    @property
    def tokens(self) -> int:
        """n: of all sequences."""
        return self.batch * self.length

    @property
    def eager(self) -> bool:
        """Whether each op keeps its own tensors."""
        return self.step.implementation == "eager"

    @property
    def element_bytes(self) -> int:
        """e: of one activation."""
        return self.step.element_bytes

    def along_tokens(self, name: str, width: int, element_bytes: int | None = None) -> SavedTensor:
        """A tensor of `width` numbers a token, whole on each tensor-parallel device."""
        size = self.element_bytes if element_bytes is None else element_bytes
        return SavedTensor(
            name=name, elements=self.tokens * width, element_bytes=size, sequence=True
        )

    def across_devices(self, name: str, width: int) -> SavedTensor:
        """A tensor of which a tensor-parallel device holds `width` numbers a token."""
        elements = self.tokens * width
        return SavedTensor(name=name, elements=elements, element_bytes=self.element_bytes)

    def dropout_mask(self, name: str, width: int) -> list[SavedTensor]:
        """The mask of a dropout on the residual stream; none without dropout."""
        if not self.step.dropout or (self.eager and not self.traits.residual_dropout):
            return []
        return [self.along_tokens(name, width, self.step.mask_bytes)]

    def norm(self, name: str, kind: NormKind, width: int, groups: int = 1) -> list[SavedTensor]:
        """A norm's input and statistics, `groups` norms of `width` numbers each a token."""
        if kind == "rms_norm":
            return self._rms_norm(name, width, groups)
        statistics = self.along_tokens(f"{name}.statistics", 2 * groups, self.step.statistic_bytes)
        return [self.along_tokens(f"{name}.input", groups * width), statistics]

    def _rms_norm(self, name: str, width: int, groups: int) -> list[SavedTensor]:
        """Its input and, in fp32, the inverse root; written out op by op, wider copies too."""
        whole = groups * width
        root = self.along_tokens(f"{name}.statistics", groups, FP32_BYTES)
        if not self.eager:
            return [self.along_tokens(f"{name}.input", whole), root]
        gemma = self.traits.rms_norm == "gemma"
        tensors = [
            self.along_tokens(f"{name}.input_in_fp32", whole, FP32_BYTES),
            root,
            self.along_tokens(f"{name}.normalised", whole, FP32_BYTES if gemma else None),
        ]
        if gemma:  # 1 + weight, in fp32
            gain = SavedTensor(name=f"{name}.gain", elements=width, element_bytes=FP32_BYTES)
            tensors.append(gain)
        if self.traits.rms_norm == "t5" and self.element_bytes < FP32_BYTES:
            tensors.append(self.along_tokens(f"{name}.input", whole))
        return tensors


def stream(architecture: Architecture, step: TrainingStep, length: int) -> Stream:
    """The tokens of a part that sees `length` of each sequence."""
    traits = eager_traits(architecture.model_type)
    return Stream(batch=step.batch_size, length=length, step=step, traits=traits)


def query_length(architecture: Architecture, step: TrainingStep, *, decoder_side: bool) -> int:
    """Tokens of one sequence; an image has as many as its model cuts it into."""
    if architecture.kind in WITHOUT_TOKENS:
        return architecture.context_len or step.sequence_len
    if decoder_side and architecture.kind == "encoder_decoder":
        return step.target_len or step.sequence_len
    return step.sequence_len
