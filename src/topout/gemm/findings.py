"""What a comparison of products found, in sentences with figures."""

import math
from collections.abc import Iterable, Sequence

from topout import units
from topout.gemm.case import VERSIONS
from topout.records import Doubt
from topout.records.gemm import GemmDtype, GemmReport, GemmResult, GemmShape
from topout.roofline import Exceeded, exceeded_doubts, is_above, share_of
from topout.speed_words import ratio_words

_MOST_IN_DETAIL = 3  # products whose steps are told one by one
_NEAR_ROOF = 0.9
_CHANGES = {version.name: version.change for version in VERSIONS}


def findings_of(report: GemmReport) -> list[str]:
    """Sentences about the best version, the steps, rivals, threads and the model as a whole."""
    products = by_product(report.shapes)
    widest = [group[-1] for group in products.values()]
    sentences = _failures(report.shapes)
    for group in products.values():
        shape = group[-1]
        best = best_of(shape.versions)
        if best is None:
            continue
        sentences.append(_best_sentence(shape, best))
        if len(products) <= _MOST_IN_DETAIL:
            sentences += _step_sentences(shape)
            sentences += _roof_sentences(shape, best)
            sentences += _thread_sentences(group, best)
    sentences += _over_all_products(widest)
    if report.model is not None:
        sentences += _model_sentences(report.model, widest)
    return sentences


def ceiling_doubts(report: GemmReport) -> list[Doubt]:
    """The arithmetic ceilings that a version or a rival was measured above in its rounds."""
    found = [
        Exceeded(f"{each.name} at {product_name(shape)}", "arithmetic", rate_of(each), share)
        for shape in report.shapes
        for each in (*shape.versions, *shape.rivals)
        if (share := each.of_ceiling) is not None
    ]
    return exceeded_doubts(found)


def by_product(
    shapes: Iterable[GemmShape],
) -> dict[tuple[int, int, int, GemmDtype], list[GemmShape]]:
    """The shapes of each product, from few threads to many, in the order of the products."""
    found: dict[tuple[int, int, int, GemmDtype], list[GemmShape]] = {}
    for shape in shapes:
        found.setdefault((shape.m, shape.n, shape.k, shape.dtype), []).append(shape)
    return {key: sorted(group, key=lambda each: each.threads) for key, group in found.items()}


def best_of(results: Sequence[GemmResult]) -> GemmResult | None:
    """The fastest one that was measured."""
    measured = [result for result in results if result.flops_per_s is not None]
    return max(measured, key=rate_of, default=None)


def rate_of(result: GemmResult) -> float:
    """FLOP/s; 0 where it was not measured."""
    return result.flops_per_s.median if result.flops_per_s is not None else 0.0


def rival_of(shape: GemmShape, result: GemmResult) -> GemmResult | None:
    """The fastest rival that packs B when `result` does: what `over_best_rival` is over."""
    return best_of([each for each in shape.rivals if each.packed_ahead == result.packed_ahead])


def bound_rate(shape: GemmShape) -> float | None:
    """The FLOP/s that the lower roof allows, from the ceilings of the same rounds."""
    if shape.ceiling_flops_per_s is None:
        return None
    roofs = [shape.ceiling_flops_per_s.median]
    if shape.read_bytes_per_s is not None:
        roofs.append(shape.read_bytes_per_s.median * shape.arithmetic_intensity)
    return min(roofs)


def product_name(shape: GemmShape) -> str:
    """The product in words: "835x2304x768 (qkv, fp32, 2 threads)"."""
    words = [
        *([shape.label] if shape.label else []),
        shape.dtype,
        units.counted(shape.threads, "thread"),
    ]
    return f"{shape.m}x{shape.n}x{shape.k} ({', '.join(words)})"


def _failures(shapes: Sequence[GemmShape]) -> list[str]:
    """Each version that failed, once, with the first product at which it did."""
    told: dict[str, str] = {}
    for shape in shapes:
        for result in [*shape.versions, *shape.rivals]:
            if result.status == "failed" and result.name not in told:
                told[result.name] = (
                    f"{result.name} failed at {product_name(shape)}, and is not timed: "
                    f"{result.reason or 'no reason recorded'}."
                ).replace("..", ".")
    return list(told.values())


def _best_sentence(shape: GemmShape, best: GemmResult) -> str:
    parts = [f"{best.name} is the fastest version at {product_name(shape)}"]
    parts.append(units.flops_per_s(rate_of(best)))
    attainable = bound_rate(shape)
    if shape.bound == "memory" and attainable:
        share = share_of(rate_of(best) / attainable)
        parts.append(f"{share} of what the read bandwidth of the same rounds allows")
    elif best.of_ceiling is not None:
        parts.append(f"{share_of(best.of_ceiling)} of the ceiling of the same rounds")
    if best.over_naive is not None and best.name != "naive":
        parts.append(ratio_words(best.over_naive, "naive"))
    sentence = f"{parts[0]}: {', '.join(parts[1:])}"
    rival = rival_of(shape, best)
    if rival is not None and best.over_best_rival is not None:
        packed = " that packs B ahead too" if best.packed_ahead else ""
        sentence += (
            f"; {ratio_words(best.over_best_rival, f'the best rival{packed}, {rival.name}')}"
        )
    return f"{sentence}."


def _step_sentences(shape: GemmShape) -> list[str]:
    steps = [
        (result, result.over_previous)
        for result in shape.versions
        if result.over_previous is not None
    ]
    sentences = []
    faster = [step for step in steps if step[1].verdict == "faster"]
    if faster:
        most, gain = max(faster, key=lambda step: step[1].median)
        change = _CHANGES.get(most.name, "")
        sentences.append(
            f"The step that gains most is {most.name}, {ratio_words(gain, 'the one before it')}"
            f"{f': {_lowered(change)}' if change else '.'}"
        )
        if most.explanation is not None and most.explanation.sentences:
            sentences.append(f"{most.name}: {most.explanation.sentences[0]}")
    for result, step in steps:
        if step.verdict == "slower":
            sentences.append(
                f"{result.name} is slower here than the step before it, {ratio_words(step, '')}."
            )
    unclear = [
        f"{each.name} {ratio_words(step, '')}"
        for each, step in steps
        if step.verdict in ("no difference", "not proven")
    ]
    if unclear:
        sentences.append(f"Not told apart from the step before it: {'; '.join(unclear)}.")
    return sentences


def _roof_sentences(shape: GemmShape, best: GemmResult) -> list[str]:
    """What binds, and how near the best version is to it."""
    attainable = bound_rate(shape)
    if attainable is None or attainable <= 0:
        return []
    share = rate_of(best) / attainable
    at = f"At {units.significant(shape.arithmetic_intensity)} FLOP/byte"
    if shape.bound == "memory" and shape.read_bytes_per_s is not None:
        roof = (
            f"memory is the lower roof ({units.bytes_per_s(shape.read_bytes_per_s.median)} read in "
            f"the same rounds): it allows {units.flops_per_s(attainable)}"
        )
    elif shape.bound == "compute":
        roof = f"arithmetic is the lower roof: it allows {units.flops_per_s(attainable)}"
    else:
        return []
    reached = f"{best.name} reaches {share_of(share)} of it"
    if is_above(share):
        cause = "the ceiling was disturbed in those rounds"
        if shape.bound == "memory":
            cause = "B stays in a cache between two products"
        return [f"{at} {roof}, and {reached}: {cause}."]
    end = "more speed needs less work" if share >= _NEAR_ROOF else "the rest is still to be had"
    return [f"{at} {roof}, and {reached}: {end}."]


def _thread_sentences(group: Sequence[GemmShape], best: GemmResult) -> list[str]:
    first, last = group[0], group[-1]
    alone = next((each for each in first.versions if each.name == best.name), None)
    if first.threads == last.threads or alone is None or rate_of(alone) <= 0:
        return []
    gain = rate_of(best) / rate_of(alone)
    efficiency = gain * first.threads / last.threads
    sentence = (
        f"From {first.threads} to {last.threads} threads {best.name} becomes "
        f"{units.times(gain)} as fast, an efficiency of {units.percent(efficiency)}"
    )
    if first.ceiling_flops_per_s is not None and last.ceiling_flops_per_s is not None:
        roof = last.ceiling_flops_per_s.median / first.ceiling_flops_per_s.median
        sentence += f"; the ceiling of arithmetic becomes {units.times(roof)} as high"
    return [f"{sentence}."]


def _over_all_products(shapes: Sequence[GemmShape]) -> list[str]:
    """Best version over best rival, packed ahead or not, in geometric mean and at worst."""
    sentences = []
    for dtype in dict.fromkeys(shape.dtype for shape in shapes):
        found = [
            (rate_of(best) / rate_of(rival), best, rival, shape)
            for shape in shapes
            if shape.dtype == dtype
            and (best := best_of(shape.versions)) is not None
            and (rival := best_of(shape.rivals)) is not None
            and rate_of(rival) > 0
        ]
        if len(found) < 2:
            continue
        mean = math.exp(sum(math.log(each[0]) for each in found) / len(found))
        worst, best, rival, shape = min(found, key=lambda each: each[0])
        sentences.append(
            f"Over {len(found)} products in {dtype} the best version runs at "
            f"{units.times(mean)} the speed of the best rival of each, packed ahead or not, in "
            f"geometric mean; at worst at {units.times(worst)} ({best.name} against {rival.name} "
            f"at {shape.m}x{shape.n}x{shape.k})."
        )
    return sentences


def _model_sentences(model: str, shapes: Sequence[GemmShape]) -> list[str]:
    """The time of all linear layers of a pass, by the best of each product."""
    sentences = []
    for dtype in dict.fromkeys(shape.dtype for shape in shapes):
        of_model = [shape for shape in shapes if shape.dtype == dtype and shape.label]
        ours = [_seconds(shape, best_of(shape.versions)) for shape in of_model]
        theirs = [_seconds(shape, best_of(shape.rivals)) for shape in of_model]
        own, other = _total(ours), _total(theirs)
        if own is None:
            continue
        calls = sum(shape.calls for shape in of_model)
        sentence = (
            f"The {calls} products of a pass of {model} take {units.seconds(own)} in {dtype} with "
            "the best version of each"
        )
        if other is not None:
            sentence += f", {units.seconds(other)} with the best rival of each"
        sentences.append(f"{sentence}.")
    return sentences


def _seconds(shape: GemmShape, best: GemmResult | None) -> float | None:
    if best is None or rate_of(best) <= 0:
        return None
    return shape.calls * shape.flops / rate_of(best)


def _total(seconds: Sequence[float | None]) -> float | None:
    known = [each for each in seconds if each is not None]
    return sum(known) if known and len(known) == len(seconds) else None


def _lowered(sentence: str) -> str:
    """To stand after a colon; a name such as B keeps its capital."""
    return sentence if sentence[1:2] in (" ", ",") else sentence[:1].lower() + sentence[1:]
