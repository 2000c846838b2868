"""A predicted ladder as a document: no measurement is in it."""

from collections.abc import Sequence

from topout import units
from topout.records import ClimbForecast, RungForecast
from topout.report.document import (
    Absent,
    Cell,
    Chart,
    Column,
    Document,
    Paragraph,
    Row,
    Section,
    Style,
    Table,
    first_and_others,
)
from topout.report.figures import (
    Phase,
    figure,
    phase_name,
    phase_prediction,
    phase_terms,
    phases_of,
    predicted_tokens_per_s,
    rate_head,
    terms,
)
from topout.report.machine.facts import machine_section, workload_facts, workload_sentence

_WIDE = 100  # characters that the predicted interval and the bound need
_NOTE = (
    "Each rung is predicted on top of those that are expected to help. Nothing was run: a climb "
    "tells whether the output is right and the speed as expected. ✓: expected to be faster than "
    "its rival, the best stack before it."
)


def forecast_document(forecast: ClimbForecast) -> Document:
    """The report of a dry run."""

    def charts() -> Sequence[Chart]:
        from topout.report.climb.forecast_chart import forecast_charts

        return forecast_charts(forecast)

    main_chart, other_charts = first_and_others(charts)
    work = forecast.workload
    on = f"on {work.device} with {units.counted(work.threads, 'thread')}"
    return Document(
        record=forecast,
        title=forecast.model.name,
        about=f"{workload_sentence(forecast.model, work, on)}; {forecast.machine.cpu_model}",
        headlines=[_headline(forecast)],
        lead=[
            main_chart,
            Section(
                "The ladder, predicted", [Paragraph(_NOTE, "note"), _table(forecast)], "ladder"
            ),
        ],
        parts=[
            other_charts,
            machine_section(
                "Machine, workload and ceilings",
                forecast.machine,
                workload_facts(forecast.model, work),
                ceilings=forecast.ceilings,
            ),
        ],
        doubts=forecast.doubts,
        absent=Absent(forecast.reasons),
        terms=terms(phase_terms(work)[0], "Speedup and its interval"),
        data_note="All predictions, as JSON, are inside this page.",
    )


def _headline(forecast: ClimbForecast) -> str:
    best = next(each for each in reversed(forecast.rungs) if each.helps)
    if not best.on and best is forecast.rungs[0]:
        return f"Predicted, not run: no rung is expected to beat {best.name}."
    return (
        f"Predicted, not run: {forecast.best} is expected at "
        f"{units.times(best.speedup_over_baseline)} the baseline over the whole workload."
    )


def _table(forecast: ClimbForecast) -> Table:
    work = forecast.workload
    last = phase_name(work, phases_of(work)[-1])
    columns = [
        Column("", text=True, only="terminal"),
        Column("Rung", text=True, least=16),
        *(Column(rate_head(work, each), least=7) for each in phases_of(work)),
        Column("Over\nits rival"),
        Column("Within", from_width=_WIDE),
        Column("Over\nbaseline"),
        Column(f"{last.capitalize()}\nbound by", text=True, from_width=_WIDE),
        Column("Output", text=True),
    ]
    return Table(
        columns,
        [_row(forecast, each) for each in forecast.rungs],
        notes_title="Why it does not apply",
    )


def _row(forecast: ClimbForecast, rung: RungForecast) -> Row:
    predicted, phases = rung.prediction, phases_of(forecast.workload)
    last = phase_prediction(rung, phases[-1])
    within = predicted.speedup_interval if predicted is not None and rung.rival else None
    style: Style = "kept" if rung.helps else "soft"
    return Row(
        [
            Cell("✓" if rung.helps else "", style=style),
            Cell(f"✓ {rung.name}" if rung.helps else rung.name, short=rung.name, style=style),
            *(_rate(forecast, rung, phase) for phase in phases),
            units.times(predicted.speedup if predicted and rung.rival else None),
            f"[{within.low:.2f}, {within.high:.2f}]" if within else units.ABSENT,
            units.times(rung.speedup_over_baseline),
            last.bound if last else units.ABSENT,
            rung.output_class,
        ],
        note=rung.reason if predicted is None else "",
    )


def _rate(forecast: ClimbForecast, rung: RungForecast, phase: Phase) -> str:
    return figure(predicted_tokens_per_s(forecast.workload, rung, phase))
