"""How often a climb's verdicts err, replaying recorded noise through the test and stopping rule.

    python benchmarks/speed_verdicts.py            # a minute
    python benchmarks/speed_verdicts.py --ladders 2000

Reads `benchmarks/results/pair-noise-*.json` (`pair_noise.py`): pairs of runs of a stack and its
copy. Blocks of consecutive pairs, so that neighbours stay neighbours, are drawn with random starts,
rival and candidate changed over in half of the blocks, and the candidate's times divided by
1 + gain. The clock goes on by what a recorded pair took. Printed, and written to
`benchmarks/results/speed-verdicts-<host key>-<date>.json`: of whole ladders of copies those in
which any rung is FASTER or SLOWER, and of duels with a true gain those that are FASTER, each with
its 95 % interval (Wilson).
"""

import argparse
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from topout.measure.runner import StoppingRule, run_in_turns
from topout.measure.speed_test import LOOKS, SpeedTest
from topout.verbs.climb import ERROR_OF_A_LADDER

RESULTS = Path(__file__).parent / "results"
RUNGS = 12
TIME_PER_RUNG_S = 20.0  # the default of --time-per-rung
BLOCK = 5


class Run(msgspec.Struct, frozen=True):
    """As much of a run as the rule looks at."""

    total_s: float


class Noise(msgspec.Struct, frozen=True):
    """Recorded pairs of one stack and its copy."""

    name: str
    pairs: list[tuple[float, float]]
    pair_s: float  # from the beginning of a pair to that of the next, the mean

    def blocks(self, random: np.random.Generator) -> Iterator[tuple[float, float]]:
        """Pairs for ever: blocks with random starts, changed over or not."""
        while True:
            start, turned = random.integers(len(self.pairs)), random.random() < 0.5
            for i in range(BLOCK):
                rival_s, candidate_s = self.pairs[(start + i) % len(self.pairs)]
                yield (candidate_s, rival_s) if turned else (rival_s, candidate_s)


class Share(msgspec.Struct, frozen=True):
    """A count of some, with its interval."""

    count: int
    of: int
    low: float
    high: float


def main() -> None:
    """Replay, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ladders", type=int, default=500)
    parser.add_argument("--duels", type=int, default=500)
    asked = parser.parse_args()
    found = []
    host_key, date = "", ""
    for path in sorted(RESULTS.glob("pair-noise-*.json")):
        recorded = json.loads(path.read_text())
        host_key, date = recorded["host_key"], max(date, recorded["date"])
        for noise in noises(recorded):
            row = replay(noise, asked.ladders, asked.duels)
            print(line(row), flush=True)
            found.append(row)
    result = {
        "host_key": host_key,
        "date": date,
        "rungs": RUNGS,
        "time_per_rung_s": TIME_PER_RUNG_S,
    }
    out = RESULTS / f"speed-verdicts-{host_key}-{date}.json"
    out.write_text(json.dumps(msgspec.to_builtins({**result, "noises": found}), indent=1) + "\n")
    print(out)


def noises(recorded: dict) -> Iterator[Noise]:
    """The stacks of a file. Its first pair is left out: its runs may have read files."""
    for stack, pairs in recorded["stacks"].items():
        steady = pairs[1:]
        yield Noise(
            name=f"{recorded['model']}, {stack}, {recorded['state']}",
            pairs=[(each["rival_s"], each["candidate_s"]) for each in steady],
            pair_s=(steady[-1]["at_s"] - steady[0]["at_s"]) / (len(steady) - 1),
        )


def replay(noise: Noise, ladders: int, duels: int) -> dict:
    """What the verdicts on copies, and on gains of 10 and 90 %, are."""
    random = np.random.default_rng(1)
    copies = [[duel(noise, 0.0, random) for _ in range(RUNGS)] for _ in range(ladders)]
    wrong = sum(any(each[0] in ("faster", "slower") for each in ladder) for ladder in copies)
    row = {
        "noise": noise.name,
        "recorded_pairs": len(noise.pairs),
        "pair_s": noise.pair_s,
        "wrong_ladders": share(wrong, ladders),
        "copies": summary(list(itertools.chain(*copies))),
    }
    for gain in (0.1, 0.9):
        found = [duel(noise, gain, random) for _ in range(duels)]
        faster = sum(each[0] == "faster" for each in found)
        row[f"gain_{gain:.0%}"] = {"faster": share(faster, duels), **summary(found)}
    return row


def duel(noise: Noise, gain: float, random: np.random.Generator) -> tuple[str, int, float]:
    """A duel as a climb fights it: its verdict, pairs and seconds."""
    pairs = noise.blocks(random)
    waiting: list[float] = []
    ticks = itertools.count(0.0, noise.pair_s)
    rule = StoppingRule(
        test=SpeedTest(error=ERROR_OF_A_LADDER / RUNGS, looks=LOOKS),
        time_budget_s=TIME_PER_RUNG_S,
    )

    def run(of_candidate: bool) -> Run:
        """Whoever is the first of a pair draws both times."""
        if waiting:
            return Run(waiting.pop())
        rival_s, candidate_s = next(pairs)
        times = (rival_s, candidate_s / (1 + gain))
        waiting.append(times[not of_candidate])
        return Run(times[of_candidate])

    fought = run_in_turns(lambda: run(False), lambda: run(True), rule, clock=lambda: next(ticks))
    verdict = fought.ratio().verdict
    assert verdict is not None
    return verdict, len(fought.rival), fought.elapsed_s


def summary(duels: list[tuple[str, int, float]]) -> dict:
    """Verdicts, and the mean of pairs and seconds."""
    return {
        "verdicts": dict(Counter(verdict for verdict, _, _ in duels)),
        "pairs": float(np.mean([pairs for _, pairs, _ in duels])),
        "seconds": float(np.mean([seconds for _, _, seconds in duels])),
    }


def share(count: int, of: int) -> Share:
    """Wilson's interval of a share."""
    z, p = 1.959964, count / of
    middle = (p + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return Share(count, of, max(0.0, middle - half), min(1.0, middle + half))


def line(row: dict) -> str:
    """A noise in a line."""
    wrong, copies = row["wrong_ladders"], row["copies"]
    parts = [f"{row['noise']} ({row['recorded_pairs']} pairs): {said(wrong)} ladders of copies err"]
    parts.append(
        f"{copies['verdicts'].get('no difference', 0) / (wrong.of * RUNGS):.0%} of copies "
        f"are no difference, {copies['seconds']:.0f} s each"
    )
    for gain in (0.1, 0.9):
        found = row[f"gain_{gain:.0%}"]
        parts.append(
            f"{gain:.0%} gain FASTER {said(found['faster'])} in {found['pairs']:.0f} pairs, "
            f"{found['seconds']:.0f} s"
        )
    return "; ".join(parts)


def said(of: Share) -> str:
    """ "1.2 % [0.6, 2.3]"."""
    return f"{100 * of.count / of.of:.1f} % [{100 * of.low:.1f}, {100 * of.high:.1f}]"


if __name__ == "__main__":
    main()
