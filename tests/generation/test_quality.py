"""Loss on held-out text: scored until it is decided, the baseline once and for all."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from topout.generation.quality import QualityTest, judged_by_distance, judged_by_loss
from topout.generation.texts import Texts
from topout.records import Quality, Verification, encode

ROW_LEN, ROWS = 129, 256  # 128 losses of a row: a look at 1,024 tokens is one at eight rows
FIGURES = Verification(
    method="", passed=True, verdict="right", reason="", positions=9, kl_divergence=0.02
)
LossOf = Callable[[int], float]  # of a row, in nats per token


class ScriptedProcess:
    """Loses what it is told to, row by row, with noise that both have in common."""

    def __init__(self, rise_of_row: LossOf = lambda row: 0.0, noise: float = 0.0) -> None:
        self.scored: list[tuple[int, int]] = []
        self._rise_of_row, self._noise = rise_of_row, noise

    def call(self, method: str, *, path: str, first: int, last: int) -> None:
        assert method == "losses"
        self.scored.append((first, last))
        save_file({"losses": self.losses(first, last)}, path)

    def losses(self, first: int, last: int) -> NDArray[np.float32]:
        common = np.random.default_rng(1).exponential(3.0, (ROWS, ROW_LEN - 1))
        own = np.random.default_rng(2).normal(0, self._noise, (ROWS, ROW_LEN - 1))
        rises = np.array([self._rise_of_row(row) for row in range(ROWS)])[:, None]
        return (common + own + rises)[first:last].astype(np.float32)


def texts_of(row_texts: tuple[str, ...] = ("Python", "English") * (ROWS // 2)) -> Texts:
    return Texts(
        path=Path("unused"),
        prompt_lens=(),
        scored_tokens=1,
        scored_bytes=(),
        description="",
        row_texts=row_texts,
        row_len=ROW_LEN,
        rows_digest="rows",
        bytes_per_token={"Python": 3.0, "English": 4.0},
    )


def quality_test(tmp_path: Path, key: str = "key", budget_s: float = 60.0) -> QualityTest:
    (tmp_path / "cache").mkdir(exist_ok=True)
    return QualityTest(texts_of(), key, tmp_path / "cache", tmp_path, budget_s)


def judge(tmp_path: Path, candidate: Any, max_loss: float = 0.01, **options: Any) -> Quality:
    baseline: Any = ScriptedProcess()
    found = quality_test(tmp_path, **options).judge(candidate, baseline, max_loss)
    encode(found)
    return found


def test_the_same_losses_are_right_at_the_first_look(tmp_path: Path) -> None:
    candidate = ScriptedProcess()
    found = judge(tmp_path, candidate)
    assert (found.verdict, found.tokens, found.looks) == ("right", 1024, 1)
    assert candidate.scored == [(0, 8)]
    assert found.rise == 0.0 and found.interval.low == found.interval.high == 0.0
    assert found.tokens_to_decide is None


def test_a_rise_is_of_perplexity_and_told_by_text(tmp_path: Path) -> None:
    rises = {0: math.log(1.04), 1: math.log(1.06)}  # Python's rows are the even ones
    found = judge(tmp_path, ScriptedProcess(lambda row: rises[row % 2]))
    assert found.verdict == "wrong"
    assert [(each.text, each.tokens) for each in found.texts] == [("Python", 512), ("English", 512)]
    assert [each.rise for each in found.texts] == pytest.approx([0.04, 0.06], abs=1e-6)
    assert [each.bytes_per_token for each in found.texts] == [3.0, 4.0]
    assert found.rise == pytest.approx(math.sqrt(1.04 * 1.06) - 1, abs=1e-6)
    for each in found.texts:
        assert each.loss - each.baseline_loss == pytest.approx(math.log1p(each.rise), abs=1e-5)


def test_noise_is_scored_away(tmp_path: Path) -> None:
    """At 0.3 nats of noise a token the mean of 1,024 tokens is about 0.01 off."""
    candidate = ScriptedProcess(noise=0.3)
    found = judge(tmp_path, candidate)
    assert found.verdict == "right" and found.looks > 1
    assert candidate.scored[:2] == [(0, 8), (8, 16)]  # nothing is scored twice
    assert found.interval.low < found.rise < found.interval.high <= 0.01


def test_a_rise_at_the_bound_is_not_proven(tmp_path: Path) -> None:
    found = judge(tmp_path, ScriptedProcess(lambda row: math.log(1.01), noise=0.1))
    assert found.verdict == "not proven"
    assert found.tokens == ROWS * 128  # all there are
    judged = judged_by_loss(FIGURES, found)
    assert (judged.passed, judged.verdict) == (False, "not proven")
    assert "tokens would decide" in judged.reason


def test_a_budget_ends_the_scoring(tmp_path: Path) -> None:
    found = judge(tmp_path, ScriptedProcess(noise=1.0), budget_s=1e-9)
    assert (found.verdict, found.looks, found.tokens) == ("not proven", 1, 1024)
    assert found.tokens_to_decide is not None and found.tokens_to_decide > 1024


def test_the_baseline_is_scored_once_for_all_rungs_and_climbs(tmp_path: Path) -> None:
    baseline: Any = ScriptedProcess()
    quality = quality_test(tmp_path)
    assert quality.baseline_loss(baseline) == pytest.approx(3.0, abs=0.3)
    for noise in (0.0, 0.16):
        rung: Any = ScriptedProcess(noise=noise)
        quality.judge(rung, baseline, 0.01)
    firsts = [first for first, _ in baseline.scored]
    assert firsts == sorted(set(firsts)) and baseline.scored[0] == (0, 8)
    scored = len(baseline.scored)
    rung = ScriptedProcess(noise=0.16)
    quality_test(tmp_path).judge(rung, baseline, 0.01)
    assert len(baseline.scored) == scored
    quality_test(tmp_path, key="another model").judge(rung, baseline, 0.01)
    assert len(baseline.scored) > scored


@pytest.mark.parametrize("kind", ["empty", "another shape", "another type", "not finite", "text"])
def test_a_damaged_cache_is_scored_anew(kind: str, tmp_path: Path) -> None:
    baseline: Any = ScriptedProcess()
    quality_test(tmp_path).baseline_loss(baseline)
    (path,) = (tmp_path / "cache").iterdir()
    whole = load_file(path)["losses"]
    bad = {
        "empty": {"other": whole},
        "another shape": {"losses": whole[:, 1:].copy()},
        "another type": {"losses": whole.astype(np.float64)},
        "not finite": {"losses": np.full_like(whole, np.nan)},
    }
    if kind in bad:
        save_file(bad[kind], path)
    else:
        path.write_text("no tensors")
    quality_test(tmp_path).baseline_loss(baseline)
    assert baseline.scored == [(0, 8), (0, 8)]


def test_huge_losses_are_recorded(tmp_path: Path) -> None:
    found = judge(tmp_path, ScriptedProcess(lambda row: 97.0))
    assert found.verdict == "wrong"
    judged = judged_by_loss(FIGURES, found)
    encode(judged)
    assert not judged.passed and judged.perplexity_ratio == pytest.approx(1 + found.rise)


def test_the_verdict_names_a_text_that_alone_is_beyond(tmp_path: Path) -> None:
    rises = {0: math.log(0.96), 1: math.log(1.05)}
    found = judge(tmp_path, ScriptedProcess(lambda row: rises[row % 2]))
    assert found.verdict == "wrong" and found.rise < 0.01
    assert "of English alone by +5.00%" in judged_by_loss(FIGURES, found).reason


def test_without_a_trained_baseline_the_distance_decides() -> None:
    wrong = judged_by_distance(FIGURES, 0.01, "the weights are random")
    assert (wrong.passed, wrong.verdict) == (False, "wrong")
    assert "rises by 2.02%" in wrong.reason  # e^0.02 − 1
    right = judged_by_distance(FIGURES, 0.03, "the weights are random")
    assert (right.passed, right.verdict) == (True, "right")
    assert "nothing is proven of quality" in right.reason
