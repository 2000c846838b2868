"""Whether a rung's loss on held-out text stays within the bound, on as many tokens as it takes.

The text is scored in large passes, many tokens at a time; that the decode path says the same is
checked elsewhere (`topout.generation.verify`). What the baseline loses on each token is computed
once, as far as a rung asks for it, and kept in the cache.
"""

import contextlib
import hashlib
import time
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, load_file, save_file

from topout.cache_folder import read_kept
from topout.generation.session_process import SessionProcess
from topout.generation.texts import Texts
from topout.measure.loss_rise import (
    LOOKS_TOKENS,
    Rise,
    judge_rise,
    perplexity,
    perplexity_rise,
    rise_of,
    tokens_to_decide,
)
from topout.records import Interval, Quality, TextLoss, Verification
from topout.whole_file import whole_file

PATIENCE = 4.0  # times the budget that may be spent where the next look should decide
Losses = NDArray[np.float32]  # [rows, tokens of a row − 1], nats


class QualityTest:
    """Holds rungs to the loss of one baseline on the rows of `texts`.

    `key` names all that it depends on, `folder` keeps what the baseline lost, `scratch` what rungs
    lose. A rung is scored for `budget_s` at most, and the baseline for what is lacking.
    """

    def __init__(
        self, texts: Texts, key: str, folder: Path, scratch: Path, budget_s: float
    ) -> None:
        self._texts = texts
        self._scratch = scratch
        self._budget_s = budget_s
        digest = hashlib.sha256("\0".join((key, texts.rows_digest)).encode()).hexdigest()[:24]
        self._path = folder / f"{digest}.safetensors"
        self._baseline = self._kept()

    def judge(
        self, candidate: SessionProcess, baseline: SessionProcess, max_loss: float
    ) -> Quality:
        """Score until it is decided, or the budget or the text ends; raises WorkerFailure."""
        spent_s = 0.0
        losses = np.zeros((0, self._texts.row_len - 1), np.float32)
        for number, rows in enumerate(self._looks(), 1):
            self._score_baseline(baseline, rows)
            began = time.monotonic()
            losses = np.concatenate([losses, self._score(candidate, len(losses), rows)])
            spent_s += time.monotonic() - began
            found = self._look(losses, max_loss, number, spent_s)
            if found.verdict != "not proven":
                return found
            # The next look is at twice the tokens, and takes as long as all before it together.
            is_near = found.tokens_to_decide is not None and (
                found.tokens_to_decide <= 2 * found.tokens
            )
            if 2 * spent_s > self._budget_s * (PATIENCE if is_near else 1.0):
                return found
        return found

    def baseline_loss(self, baseline: SessionProcess) -> float:
        """Nats per token that the baseline loses on the rows of the first look."""
        rows = self._looks()[0]
        self._score_baseline(baseline, rows)
        return float(self._baseline[:rows].mean())

    def _looks(self) -> list[int]:
        """Rows at which the losses are looked at."""
        available, tokens = len(self._texts.row_texts), self._texts.row_len - 1
        wanted = [-(-look // tokens) for look in LOOKS_TOKENS]
        return sorted({min(rows, available) for rows in wanted})

    def _look(self, losses: Losses, max_loss: float, looks: int, elapsed_s: float) -> Quality:
        theirs = self._baseline[: len(losses)]
        rows_of = self._rows_of_texts(len(losses))
        rises = {name: rise_of(list(losses[at] - theirs[at])) for name, at in rows_of.items()}
        whole = rise_of(list(losses - theirs))
        verdict = judge_rise(whole, list(rises.values()), max_loss)
        return Quality(
            verdict=verdict,
            max_loss=max_loss,
            tokens=whole.tokens,
            rise=perplexity_rise(whole.mean),
            interval=_interval(whole),
            texts=[
                TextLoss(
                    text=name,
                    tokens=rise.tokens,
                    bytes_per_token=self._texts.bytes_per_token[name],
                    baseline_loss=float(theirs[rows_of[name]].mean()),
                    loss=float(losses[rows_of[name]].mean()),
                    rise=perplexity_rise(rise.mean),
                    interval=_interval(rise),
                )
                for name, rise in rises.items()
            ],
            looks=looks,
            elapsed_s=elapsed_s,
            tokens_to_decide=tokens_to_decide(whole, max_loss) if verdict == "not proven" else None,
        )

    def _rows_of_texts(self, rows: int) -> dict[str, list[int]]:
        """The rows of each text, among the first."""
        names = self._texts.row_texts[:rows]
        return {
            name: [row for row, each in enumerate(names) if each == name]
            for name in dict.fromkeys(names)
        }

    def _score(self, process: SessionProcess, first: int, last: int) -> Losses:
        path = self._scratch / "losses.safetensors"
        process.call("losses", path=str(path), first=first, last=last)
        return load_file(path)["losses"]

    def _score_baseline(self, baseline: SessionProcess, rows: int) -> None:
        """What it loses on the first rows, as far as that is not known yet."""
        done = len(self._baseline)
        if done < rows:
            more = self._score(baseline, done, rows)
            self._baseline = np.concatenate([self._baseline, more])
            # A cache that refuses costs another scoring.
            with (
                contextlib.suppress(OSError, SafetensorError),
                whole_file(self._path) as unfinished,
            ):
                save_file({"losses": self._baseline}, unfinished)

    def _kept(self) -> Losses:
        """What an earlier climb found, if it fits."""
        with contextlib.suppress(OSError, SafetensorError, KeyError):
            losses = load(read_kept(self._path))["losses"]
            is_whole = losses.ndim == 2 and losses.shape[1] == self._texts.row_len - 1
            if is_whole and losses.dtype == np.float32 and np.isfinite(losses).all():
                return losses
        return np.zeros((0, self._texts.row_len - 1), np.float32)


def judged_by_loss(figures: Verification, quality: Quality) -> Verification:
    """The verdict of a rung whose decode path is right."""
    low, high = quality.interval.low, quality.interval.high
    found = (
        f"held-out perplexity changes by {quality.rise:+.2%} [{low:+.2%}, {high:+.2%}] on "
        f"{quality.tokens} tokens, and {quality.max_loss:.2%} is allowed"
    )
    beyond = [each for each in quality.texts if each.rise > 2 * quality.max_loss]
    if quality.verdict == "wrong" and quality.rise <= quality.max_loss and beyond:
        worst = max(beyond, key=lambda each: each.rise)
        found += f"; of {worst.text} alone by {worst.rise:+.2%}"
    if quality.verdict == "not proven" and quality.tokens_to_decide is not None:
        found += f"; about {quality.tokens_to_decide} tokens would decide"
    return msgspec.structs.replace(
        figures,
        passed=quality.verdict == "right",
        verdict=quality.verdict,
        reason=found,
        quality=quality,
        perplexity=perplexity(_mean_loss(quality)),
        perplexity_ratio=1 + quality.rise,
    )


def judged_by_distance(figures: Verification, max_loss: float, why: str) -> Verification:
    """The verdict where held-out text means nothing to the baseline, which `why` says.

    A divergence of K nats raises the perplexity of text that the baseline itself would write by
    e^K − 1; a ruined model would lose nothing on other text, and must not pass.
    """
    assert figures.kl_divergence is not None
    own_loss = perplexity_rise(figures.kl_divergence)
    found = f"perplexity of text as the baseline writes it rises by {own_loss:.2%}"
    passed = own_loss <= max_loss
    return msgspec.structs.replace(
        figures,
        passed=passed,
        verdict="right" if passed else "wrong",
        reason=f"{found}, and {max_loss:.2%} is allowed; {why}, so nothing is proven of quality",
    )


def _mean_loss(quality: Quality) -> float:
    return sum(each.loss * each.tokens for each in quality.texts) / quality.tokens


def _interval(rise: Rise) -> Interval:
    low, high = rise.interval()
    return Interval(low=perplexity_rise(low), high=perplexity_rise(high))
