"""Findings: the figures that each sentence must have, and when it must not be said."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.gemm import example_report as example
from topout.gemm.findings import best_of, bound_rate, by_product, ceiling_doubts, findings_of
from topout.gemm.results import with_parallel_efficiency
from topout.measure.speed_test import SpeedTest
from topout.records import GemmReport, GemmResult, GemmShape
from topout.speed_words import ratio_words
from topout.units import flops_per_s


def findings(*shapes: GemmShape, model: str | None = None) -> str:
    return "\n".join(findings_of(example.report(*shapes, model=model)))


def test_the_best_version_with_its_share_and_its_ratios() -> None:
    text = findings(example.shape())
    assert "prepacked is the fastest version at 1024x1024x1024 (fp32, 2 threads)" in text
    assert "226 GFLOP/s, 96 % of the ceiling" in text
    assert "141× naive" in text  # 226 / 1.6
    assert "1.02× the best rival that packs B ahead too, onednn_packed" in text  # 226 / 221


def test_the_step_that_gains_most_and_its_reason() -> None:
    text = findings(example.shape(explained=True))
    assert "The step that gains most is loop_order, 18.8× the one before it" in text  # 30 / 1.6
    assert "24 accumulators hide the latency" in text


def test_a_step_in_the_noise_is_not_called_a_gain() -> None:
    text = findings(example.shape())
    assert "Not told apart from the step before it" in text
    assert "packed 0.998×" in text  # 40.9 / 41.0


def test_a_step_back_is_said() -> None:
    shape = example.shape()
    slower = [
        msgspec.structs.replace(each, over_previous=example.ratio(0.5))
        if each.name == "packed"
        else each
        for each in shape.versions
    ]
    assert "packed is slower here than the step before it, 0.500×" in findings(
        msgspec.structs.replace(shape, versions=slower)
    )


def test_threads() -> None:
    shapes = with_parallel_efficiency([example.shape(threads=1), example.shape(threads=2)])
    text = findings(*shapes)
    assert "From 1 to 2 threads prepacked becomes 2.00× as fast, an efficiency of 100 %" in text
    assert "From 1 to 2" not in findings(example.shape())


def test_memory_as_the_lower_roof() -> None:
    shape = example.shape(1, 50257, 768)
    shape = msgspec.structs.replace(shape, bound="memory")
    text = findings(shape)
    # 44 GB/s at 0.5 FLOP/byte allow 22 GFLOP/s; the versions of this example are far above.
    assert "memory is the lower roof (44.0 GB/s read" in text
    assert "allows 22.0 GFLOP/s" in text and "stays in a cache" in text
    assert (bound_rate(shape) or 0) < 23e9


def test_a_failure_comes_first_and_once() -> None:
    broken = [
        msgspec.structs.replace(
            shape, versions=[*shape.versions, example.failed("mine.cpp", "C[0][1] = 5.")]
        )
        for shape in (example.shape(threads=1), example.shape(threads=2))
    ]
    found = findings_of(example.report(*broken))
    assert found[0].startswith("mine.cpp failed at 1024x1024x1024")
    assert found[0].endswith("C[0][1] = 5.")
    assert sum("mine.cpp" in sentence for sentence in found) == 1


def test_many_products_are_summed_up() -> None:
    shapes = [
        example.shape(835, n, k, label=label, calls=12)
        for n, k, label in (
            (2304, 768, "qkv"),
            (768, 768, "out"),
            (3072, 768, "up"),
            (768, 3072, "down"),
        )
    ]
    text = findings(*shapes, model="gpt2")
    assert "Over 4 products in fp32 the best version runs at 1.02×" in text
    assert "The 48 products of a pass of gpt2 take 628 ms" in text  # 12·2·835·7077888 / 226e9
    assert "The step that gains most" not in text


def test_without_rivals_ceilings_or_versions_nothing_is_made_up() -> None:
    shape = example.shape(rivals=False)
    bare = msgspec.structs.replace(shape, ceiling_flops_per_s=None, read_bytes_per_s=None)
    text = findings(bare)
    assert "rival" not in text and "roof" not in text
    assert findings_of(example.report(msgspec.structs.replace(shape, versions=[], rivals=[]))) == []
    assert findings_of(msgspec.structs.replace(example.report(), shapes=[])) == []


def test_products_are_grouped_over_threads() -> None:
    shapes = [example.shape(threads=2), example.shape(8, 8, 8), example.shape(threads=1)]
    groups = list(by_product(shapes).values())
    assert [[each.threads for each in group] for group in groups] == [[1, 2], [2]]


@given(st.lists(st.floats(1.0, 1e12), max_size=6))
def test_the_best_is_the_fastest(rates: list[float]) -> None:
    results = [
        GemmResult(name=str(i), status="measured", flops_per_s=example.estimate(rate))
        for i, rate in enumerate(rates)
    ]
    best = best_of([example.failed("x", "wrong"), *results])
    assert (best is None) == (not rates)
    if best is not None and best.flops_per_s is not None:
        assert best.flops_per_s.median == max(rates)


def test_a_ratio_in_words() -> None:
    assert ratio_words(example.ratio(5.0, 0.1), "naive") == "5.00× naive [4.50, 5.50]"
    assert ratio_words(example.ratio(1.0, 0.02), "") == "1.00× [0.980, 1.02], no difference"


def test_a_ratio_of_wild_rounds_is_not_proven() -> None:
    wild = SpeedTest().ratio([4.16, 30.0, 0.2], [1.0, 1.0, 1.0])
    said = ratio_words(wild, "naive")
    assert said.startswith("4.16× naive [") and ", not proven (2 of 3 pairs say faster" in said
    shape = example.shape()
    versions = [msgspec.structs.replace(each, over_previous=wild) for each in shape.versions]
    text = findings(msgspec.structs.replace(shape, versions=versions))
    assert "The step that gains most" not in text and "slower here" not in text
    assert "Not told apart from the step before it: naive 4.16× [" in text


def test_every_sentence_is_one_line() -> None:
    report: GemmReport = example.report()
    assert all("\n" not in each and each.endswith(".") for each in findings_of(report))


def test_a_version_above_the_ceiling_of_its_rounds_doubts_that() -> None:
    shape = example.shape()
    above = [msgspec.structs.replace(each, of_ceiling=1.04) for each in shape.versions[-1:]]
    report = example.report(msgspec.structs.replace(shape, versions=above))
    assert ">100 % of the ceiling of the same rounds" in "\n".join(findings_of(report))
    (doubt,) = ceiling_doubts(report)
    rate = above[0].flops_per_s
    assert rate is not None
    assert f"{above[0].name} at 1024x1024x1024" in doubt.sentence.lower()
    assert flops_per_s(rate.median / 1.04) in doubt.sentence
    assert ceiling_doubts(example.report(example.shape())) == []
