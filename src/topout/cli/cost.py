"""`topout cost` and its sub-commands."""

from pathlib import Path
from typing import Annotated

from topout.cli.outputs import (
    JsonOutputs,
    PageOutputs,
    Result,
    ShownOutputs,
    check_ending,
    print_table,
    write_file,
)
from topout.errors import InputError, UnsupportedError
from topout.options import Option, Request
from topout.progress import Notify
from topout.records import CostReport, ExampleReport
from topout.verbs.cost_request import CheckRequest, CostRequest, ExampleRequest, LayersRequest
from topout.visible_text import shown


class RooflineOutputs(PageOutputs, frozen=True, kw_only=True):
    """What `topout cost` and `topout cost example` write."""

    roofline: Annotated[
        Path | None, Option("The roofline's picture, or a .png.", metavar="FILE.svg", writes=True)
    ] = None

    def check(self) -> None:
        """Refuse a picture that is neither SVG nor PNG."""
        super().check()
        check_ending("--roofline", self.roofline, ".svg", ".png")

    def show(self, result: Result) -> None:
        """Print the record, and for people the points of the picture."""
        super().show(result)
        is_drawn = self.roofline is not None and isinstance(result.record, CostReport)
        if is_drawn and self.shown_format is None:
            from topout.report.cost.rooflines import cost_roofline_document
            from topout.report.to_terminal import to_terminal

            print_table(to_terminal(cost_roofline_document(shown(result.record))))

    def write(self, result: Result) -> None:
        """Write the picture of the first machine as well."""
        super().write(result)
        if self.roofline is not None:
            write_file(self.roofline, _first_roofline(shown(result.record), self.roofline))


class GraphOutputs(PageOutputs, frozen=True, kw_only=True):
    """What `topout cost layers` writes."""

    graph: Annotated[
        Path | None, Option("The graph's picture.", metavar="FILE.svg", writes=True)
    ] = None

    def check(self) -> None:
        """Refuse a picture that is no SVG."""
        super().check()
        check_ending("--graph", self.graph, ".svg")

    def write(self, result: Result) -> None:
        """Write the picture as well; raises UnsupportedError where there is no graph."""
        from topout.report.graph.module_graph import module_graph_svg

        super().write(result)
        if self.graph is None:
            return
        record = result.record
        if record.graph is None:
            raise UnsupportedError(f"no graph: {record.reasons['graph']}", "The layers are shown.")
        write_file(self.graph, module_graph_svg(shown(record.graph)))


def _report(request: CostRequest, outputs: RooflineOutputs, notify: Notify) -> Result:
    from topout.verbs.report_cost import report_cost

    return Result(report_cost(request, notify), view={"full": request.full})


def _list(request: Request, outputs: ShownOutputs, notify: Notify) -> Result:
    from topout.models.known import countable_names
    from topout.verbs.costed_model import named_model

    models = [named_model(name) for name in countable_names()]
    by_name = {model.name: model for model in models}  # some have a second name
    return Result(list(by_name.values()))


def _layers(request: LayersRequest, outputs: GraphOutputs, notify: Notify) -> Result:
    from topout.verbs.list_layers import list_layers

    return Result(list_layers(request), view={"expand": request.expand})


def _check(request: CheckRequest, outputs: JsonOutputs, notify: Notify) -> Result:
    from topout.verbs.check_count import check_count

    record = check_count(request)
    return Result(record, status=0 if record.agrees else 1)


def _example(request: ExampleRequest, outputs: RooflineOutputs, notify: Notify) -> Result:
    from topout.verbs.work_example import work_example

    return Result(work_example(request, progress=notify))


def _first_roofline(record: CostReport | ExampleReport, path: Path) -> str | bytes:
    """The first machine's chart as a PNG or SVG file, by the path's ending."""
    from topout.report.charts.theme import chart_png, chart_svg
    from topout.report.cost.rooflines import cost_rooflines
    from topout.report.example.charts import example_charts

    if isinstance(record, CostReport):
        charts = [chart for _, chart in cost_rooflines(record)]
    else:
        charts = [chart.spec for chart in example_charts(record)]
    if not charts:
        raise InputError("no machine has the figures for a roofline.", "Name another with --on.")
    is_png = path.suffix.lower() == ".png"
    return chart_png(charts[0]) if is_png else chart_svg(charts[0], background="white")


ANSWERS = {"": _report, "list": _list, "layers": _layers, "check": _check, "example": _example}
