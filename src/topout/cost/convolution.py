"""FLOPs and bytes of convolutions, op by op."""

from collections.abc import Sequence

from topout.cost.ops import Op
from topout.models.architecture import Convolution


def convolution_ops(convolutions: Sequence[Convolution], batch_size: int) -> list[Op]:
    """The convolutions of a network, each followed by its batch norm where it has one.

    2 FLOPs per output element, input channel and kernel element; the input is as large as the
    output times the stride.
    """
    ops: list[Op] = []
    for each in convolutions:
        positions = batch_size * each.out_height * each.out_width * each.count
        kernel = each.in_channels * each.kernel * each.kernel
        inputs = positions * each.stride * each.stride * each.in_channels
        outputs = positions * each.out_channels
        ops.append(
            Op(
                name=each.name,
                part="convolution",
                kind="convolution",
                count=each.count,
                shape=(
                    f"{each.in_channels}→{each.out_channels}, {each.kernel}×{each.kernel}"
                    f"/{each.stride}, {each.out_height}×{each.out_width}"
                ),
                rows=positions // each.count,
                matrix_elements=kernel * each.out_channels,
                flops=2.0 * outputs * kernel,
                weight_elements=float(each.count * kernel * each.out_channels),
                activation_elements=float(inputs + outputs),
            )
        )
        if each.batch_norm:
            ops.append(
                Op(
                    name=f"{each.name}.norm",
                    part="norms",
                    kind="elementwise",
                    count=each.count,
                    shape=f"{each.out_channels}×{each.out_height}×{each.out_width}",
                    flops=float(outputs),
                    activation_elements=2.0 * outputs,
                )
            )
    return ops
