"""Doubts come up when they should, and only then."""

import pytest

from topout.measure import checks
from topout.measure.checks import drift_doubt, load_doubts, sample_doubts
from topout.measure.usage import ProcessorTime
from topout.records import RunSample


def samples_of(*totals_s: float, stolen: float | None = None) -> list[RunSample]:
    return [
        RunSample(
            ttft_s=0.1,
            total_s=total_s,
            new_tokens=8,
            forward_passes=7,
            at_s=0.0,
            stolen_share=stolen,
        )
        for total_s in totals_s
    ]


def sentences(samples: list[RunSample]) -> str:
    return "; ".join(doubt.sentence for doubt in sample_doubts("compile", samples))


def test_steady_samples_raise_no_doubt() -> None:
    assert sample_doubts("compile", samples_of(1.0, 1.02, 0.99, 1.01, stolen=0.001)) == []


def test_no_samples_raise_no_doubt() -> None:
    assert sample_doubts("compile", []) == []


def test_few_samples() -> None:
    (doubt,) = sample_doubts("compile", samples_of(1.0, 1.0))
    assert doubt.about == "compile"
    assert "Only 2 run(s) were timed" in doubt.sentence
    assert "--time-per-rung" in doubt.remedy


def test_scattered_samples() -> None:
    # Quartiles of 1.0, 1.2, 1.4 are 1.1 and 1.3: 0.2 of the median 1.2 is 17 %.
    assert "17%" in sentences(samples_of(1.0, 1.2, 1.4))
    assert sentences(samples_of(1.1, 1.2, 1.3)) == ""  # 8 %


def test_stolen_time() -> None:
    assert "up to 5%" in sentences(samples_of(1.0, 1.0, 1.0, stolen=0.05))
    assert sentences(samples_of(1.0, 1.0, 1.0, stolen=0.01)) == ""
    assert sentences(samples_of(1.0, 1.0, 1.0, stolen=None)) == ""


def test_what_just_passes() -> None:
    # Quartiles of 0.85, 1, 1.15 are 0.925 and 1.075: 15 % apart, and 2 % was stolen.
    assert sample_doubts("compile", samples_of(0.85, 1.0, 1.15, stolen=0.02)) == []
    assert len(sample_doubts("compile", samples_of(0.84, 1.0, 1.16, stolen=0.021))) == 2
    assert drift_doubt([14e9, 10e9]) is not None
    assert drift_doubt([13.9e9, 10e9]) is None
    assert drift_doubt([20e9]) is None


def test_whole_doubts() -> None:
    wide, stolen = sample_doubts("compile", samples_of(1.0, 1.2, 1.4, stolen=0.05))
    assert (wide.about, stolen.about) == ("compile", "compile")
    assert wide.sentence == "Single runs lie 17% apart (quartiles)."
    assert "quieter machine" in wide.remedy
    assert stolen.sentence == "The hypervisor took up to 5% of the CPU time from a run."
    assert "ratios" in stolen.remedy
    # The largest share counts, and runs of which none is known do not.
    mixed = [*samples_of(1.0, stolen=0.01), *samples_of(1.0, stolen=0.3), *samples_of(1.0)]
    assert [doubt.sentence for doubt in sample_doubts("compile", mixed)] == [
        "The hypervisor took up to 30% of the CPU time from a run."
    ]


def test_drifting_bandwidth() -> None:
    doubt = drift_doubt([54e9, 27e9, 40e9])
    assert doubt is not None and doubt.about == "machine"
    assert "27.0 and 54.0 GB/s" in doubt.sentence


@pytest.mark.parametrize("probes", [[], [50e9], [50e9, 40e9, 45e9]])
def test_a_steady_or_unprobed_bandwidth_raises_no_doubt(probes: list[float]) -> None:
    assert drift_doubt(probes) is None


def doubts_under(monkeypatch: pytest.MonkeyPatch, busy_ticks: int, swapped: float) -> list[str]:
    readings = iter(
        [
            ProcessorTime(total=0, idle=0, steal=0),
            ProcessorTime(total=100, idle=100 - busy_ticks, steal=0),
        ]
    )
    monkeypatch.setattr(checks, "processor_time", lambda: next(readings))
    monkeypatch.setattr(checks, "_swap_in_use_share", lambda: swapped)
    return [doubt.sentence for doubt in load_doubts(pause_s=0.0)]


def test_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doubts_under(monkeypatch, 40, 0.0) == ["Other programs use 40% of the processors."]


def test_swap(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doubts_under(monkeypatch, 0, 0.5) == ["50% of the swap space is in use."]


def test_a_quiet_machine_raises_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doubts_under(monkeypatch, 10, 0.05) == []
    assert doubts_under(monkeypatch, 14, 0.1) == []
    assert len(doubts_under(monkeypatch, 16, 0.11)) == 2


def test_a_machine_without_proc_stat_raises_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "processor_time", lambda: None)
    monkeypatch.setattr(checks, "_swap_in_use_share", lambda: 0.0)
    assert load_doubts(pause_s=0.0) == []


def test_the_real_swap_is_a_share() -> None:
    assert 0.0 <= checks._swap_in_use_share() <= 1.0
