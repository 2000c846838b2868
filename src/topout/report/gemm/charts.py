"""The charts of a comparison, each a Vega-Lite spec with a title and a caption."""

from topout.records import GemmReport, GemmShape
from topout.report.document import Chart
from topout.report.gemm.ladder_chart import gemm_ladder_chart
from topout.report.gemm.roofline import gemm_roofline
from topout.report.gemm.rows import shape_title
from topout.report.gemm.scaling_chart import gemm_scaling_chart
from topout.report.roofline.hierarchical import ROOFLINE_CAPTION

_MOST_LADDERS = 12  # a page of more is not read


def gemm_charts(report: GemmReport) -> list[Chart]:
    """Ladders on the most threads, rates over threads, and a roofline per data type."""
    widest = [each for each in report.shapes if each.threads == report.threads]
    charts = [
        Chart(f"ladder{number}", shape_title(shape), _LADDER, gemm_ladder_chart(shape))
        for number, shape in enumerate(widest[:_MOST_LADDERS])
        if _measured(shape)
    ]
    for dtype in dict.fromkeys(shape.dtype for shape in widest):
        spec = gemm_roofline(report, dtype)
        if spec is not None:
            title = f"The roofline, {dtype}"
            charts.append(Chart(f"roofline_{dtype}", title, ROOFLINE_CAPTION, spec))
    for number, shape in enumerate(widest[:_MOST_LADDERS]):
        group = [each for each in report.shapes if _same_product(each, shape)]
        if sum(_measured(each) for each in group) > 1:
            words = [f"{shape.m}x{shape.n}x{shape.k}", shape.label, shape.dtype]
            title = f"Over threads: {', '.join(word for word in words if word)}"
            spec = gemm_scaling_chart(group)
            charts.append(Chart(f"threads{number}", title, _THREADS, spec))
    return charts


def _measured(shape: GemmShape) -> bool:
    return any(each.flops_per_s for each in [*shape.versions, *shape.rivals])


def _same_product(one: GemmShape, other: GemmShape) -> bool:
    return (one.m, one.n, one.k, one.dtype) == (other.m, other.n, other.k, other.dtype)


_LADDER = (
    "Bar: median rate; line on it: its 95 % interval. Dashed: what the lower roof allows, "
    "arithmetic or memory, measured in the same rounds. Each version stands on the one above it."
)
_THREADS = (
    "Both axes are logarithmic: a line that is parallel to the ceiling's loses nothing by more "
    "threads. The best rival is dashed. Counts of threads were measured one after the other."
)
