"""What autograd keeps of a convolutional network until its backward pass.

A convolution keeps its input, a batch norm its input and, per channel, mean and deviation, a ReLU
its output. The ReLU's output is the next convolution's input: it is there once. The two
branches that a residual layer ends in share one ReLU, which is counted with the main branch.
Max-pooling keeps the int64 index of each number that it passes on.
"""

import math

from topout.cost.saved_tensors import INDEX_BYTES, SavedTensor
from topout.cost.training_step import TrainingStep
from topout.models.architecture import Architecture, Convolution

_STATISTICS = 2  # mean and inverse deviation


def convolution_activations(architecture: Architecture, step: TrainingStep) -> list[SavedTensor]:
    """All that is kept of the convolutions; an image model's patch embedding is one of them."""
    if not architecture.convolutions:
        return []
    first = architecture.convolutions[0]
    tensors = [_kept("pixels", _input_elements(first), step)]
    for convolution in architecture.convolutions:
        if convolution.batch_norm:
            tensors += _normalised(convolution, step)
    return tensors + _pooled(architecture.convolutions, step)


def _kept(name: str, elements: int, step: TrainingStep, size: int | None = None) -> SavedTensor:
    """A tensor of so many elements per image."""
    return SavedTensor(
        name=f"convolution.{name}",
        elements=step.batch_size * elements,
        element_bytes=step.element_bytes if size is None else size,
    )


def _normalised(convolution: Convolution, step: TrainingStep) -> list[SavedTensor]:
    """Of all runs of one convolution: what the batch norm after it and the ReLU keep."""
    outputs = convolution.count * _output_elements(convolution)
    statistics = SavedTensor(
        name="convolution.statistics",
        elements=convolution.count * _STATISTICS * convolution.out_channels,
        element_bytes=step.statistic_bytes,
    )
    tensors = [_kept(f"{convolution.name}.norm_input", outputs, step), statistics]
    if not convolution.name.endswith("shortcut"):
        tensors.append(_kept(f"{convolution.name}.relu_output", outputs, step))
    return tensors


def _pooled(convolutions: list[Convolution], step: TrainingStep) -> list[SavedTensor]:
    """What a max-pooling between the first two convolutions keeps; nothing where there is none."""
    if len(convolutions) < 2 or not convolutions[0].batch_norm:
        return []
    before, after = _output_elements(convolutions[0]), _input_elements(convolutions[1])
    if after >= before:
        return []
    return [
        _kept("pooled", after, step),
        _kept("pooling_indices", after, step, INDEX_BYTES),
    ]


def _output_elements(convolution: Convolution) -> int:
    return convolution.out_channels * convolution.out_height * convolution.out_width


def _input_elements(convolution: Convolution) -> int:
    """Of an image whose sides the stride divides."""
    return math.prod(
        (
            convolution.in_channels,
            convolution.out_height * convolution.stride,
            convolution.out_width * convolution.stride,
        )
    )
