"""Is a rung's loss on held-out text judged rightly? Real losses per token, replayed.

    python benchmarks/quality_verdicts.py record smollm2-135m   # a folder or a name; minutes
    python benchmarks/quality_verdicts.py replay                # all that was recorded

`record` scores all held-out rows with the baseline and with stacks of near rungs, in large passes,
and keeps what each token loses more than with the baseline in
`benchmarks/results/quality-losses-<model>.safetensors`. `replay` draws rows of them anew, moves
their mean so that perplexity truly rises by 0, 0.5, 2 and 5 %, and lets the quality test of a climb
look at them as it would (`--max-loss` 1 %). It also judges each stack as it was recorded, its rows
in ten other orders. Writes `benchmarks/results/quality-verdicts-<date>.md`.
"""

import argparse
import datetime
import importlib.metadata
import json
import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from topout.generation.build import build_session
from topout.generation.quality import QualityTest
from topout.generation.subject import resolve_subject, set_up
from topout.generation.texts import Texts
from topout.generation.verify import row_losses
from topout.ladder.request import ClimbRequest
from topout.records import Quality
from topout.run_folder import RunFolder
from topout.rungs.registry import find_rung

RESULTS = Path(__file__).parent / "results"
STACKS = {
    "bf16": ["static_cache", "bf16"],
    "int8 weights": ["static_cache", "quantize_weights_int8"],
    "int8 weights and activations": ["static_cache", "native_linear_int8_dynamic"],
    "int4 weights": ["static_cache", "native_linear_int4"],
}
TRUE_RISES = (0.0, 0.005, 0.02, 0.05)
MAX_LOSS = 0.01
REPLAYS, ORDERS = 200, 10


def main() -> None:
    """Record or replay."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    record_parser = commands.add_parser("record")
    record_parser.add_argument("model")
    record_parser.add_argument("--threads", type=int, default=None)
    commands.add_parser("replay")
    asked = parser.parse_args()
    if asked.command == "record":
        record(asked.model, asked.threads)
    else:
        replay_all()


def record(model: str, threads: int | None) -> None:
    """Score all rows with the baseline and with each stack."""
    subject = resolve_subject(ClimbRequest(model=model, threads=threads, dtype="fp32"))
    name = subject.source.name
    with RunFolder.create("climb", f"quality-{name}") as folder:
        setting = set_up(subject, None, 1, folder, lambda text, done: None)
        preparation = setting.preparation("transformers")
        torch.set_num_threads(setting.workload.threads)
        rows = _rows_of(setting.texts)
        baseline = row_losses(build_session(preparation.build()), rows).numpy()
        print(
            f"baseline: {baseline.mean():.4f} nats per token on {baseline.size} tokens", flush=True
        )
        tensors: dict[str, NDArray[Any]] = {"baseline": baseline}
        for label, stack in STACKS.items():
            transforms = [find_rung(each) for each in stack]
            losses = row_losses(build_session(preparation.build(), transforms), rows).numpy()
            tensors[label] = (losses - baseline).astype(np.float16)
            print(f"{label}: {math.expm1(float((losses - baseline).mean())):+.2%}", flush=True)
    about = {
        "model": name,
        "row_texts": json.dumps(setting.texts.row_texts),
        "machine": setting.machine.cpu_model,
        "torch": importlib.metadata.version("torch"),
        "date": datetime.date.today().isoformat(),
    }
    tensors["baseline"] = baseline.astype(np.float16)
    save_file(tensors, RESULTS / f"quality-losses-{name}.safetensors", about)


def _rows_of(texts: Texts) -> torch.Tensor:
    with safe_open(texts.path, framework="pt") as file:
        rows: torch.Tensor = file.get_tensor("rows")
    return rows


class Recorded:
    """A process whose rows lose what was recorded."""

    def __init__(self, losses: NDArray[np.float32]) -> None:
        self.losses = losses

    def call(self, method: str, *, path: str, first: int, last: int) -> None:
        """Answer as a worker does."""
        save_file({method: self.losses[first:last]}, path)


def judge(
    row_texts: tuple[str, ...], baseline: NDArray[Any], differences: NDArray[Any], folder: Path
) -> Quality:
    """What the quality test of a climb says of these rows [R, L − 1]."""
    texts = Texts(
        path=folder,
        prompt_lens=(),
        scored_tokens=1,
        scored_bytes=(),
        description="",
        row_texts=row_texts,
        row_len=baseline.shape[1] + 1,
        rows_digest="",
        bytes_per_token=dict.fromkeys(row_texts, 1.0),
    )
    rival: Any = Recorded(baseline.astype(np.float32))
    candidate: Any = Recorded((baseline + differences).astype(np.float32))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        quality = QualityTest(texts, "", Path(scratch), Path(scratch), math.inf)
        return quality.judge(candidate, rival, MAX_LOSS)


def drawn_rows(
    row_texts: tuple[str, ...], generator: np.random.Generator, *, again: bool
) -> list[int]:
    """Rows in place of the given ones, each of the same text; `again`: one may come repeatedly."""
    names = np.array(row_texts)
    drawn = np.zeros(len(names), dtype=np.int64)
    for name in dict.fromkeys(row_texts):
        (places,) = np.nonzero(names == name)
        drawn[places] = generator.choice(places, len(places), replace=again)
    return [int(row) for row in drawn]


def replay_all() -> None:
    """Replay every recorded model, print and write the tables."""
    lines = [
        "# Quality verdicts, replayed",
        "",
        f"`python benchmarks/quality_verdicts.py replay`, {datetime.date.today()}; "
        f"`--max-loss` {MAX_LOSS:.0%}, {REPLAYS} replays of each case.",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        for path in sorted(RESULTS.glob("quality-losses-*.safetensors")):
            lines += ["", *replay(path, Path(scratch))]
    text = "\n".join(lines) + "\n"
    print(text)
    (RESULTS / f"quality-verdicts-{datetime.date.today()}.md").write_text(text)


def replay(path: Path, folder: Path) -> list[str]:
    """The tables of one model."""
    with safe_open(path, framework="numpy") as file:
        about = file.metadata()
        names = file.keys()
        tensors = {name: file.get_tensor(name).astype(np.float64) for name in names}
    row_texts = tuple(json.loads(about["row_texts"]))
    baseline = tensors.pop("baseline")
    lines = [
        f"## {about['model']}",
        "",
        f"Losses recorded on {about['date']}, torch {about['torch']}.",
        "",
        "Noise of a real rung, its mean moved to a true rise of perplexity:",
        "",
        "| noise of | true rise | right | wrong | not proven | median tokens |",
        "|---|---|---|---|---|---|",
    ]
    for label in STACKS:
        for true_rise in TRUE_RISES:
            counts, tokens = _verdicts(row_texts, baseline, tensors[label], true_rise, folder)
            cells = [f"{counts[each] / REPLAYS:.1%}" for each in ("right", "wrong", "not proven")]
            lines.append(f"| {label} | {true_rise:.1%} | {' | '.join(cells)} | {tokens} |")
    lines += [
        "",
        f"Each stack as it is, its rows in {ORDERS} other orders:",
        "",
        "| stack | rise on all tokens | verdicts | tokens |",
        "|---|---|---|---|",
    ]
    for label in STACKS:
        differences = tensors[label]
        found = []
        for seed in range(ORDERS):
            rows = drawn_rows(row_texts, np.random.default_rng(seed), again=False)
            found.append(judge(row_texts, baseline[rows], differences[rows], folder))
        verdicts = Counter(each.verdict for each in found)
        shown = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
        spread = f"{min(each.tokens for each in found)}-{max(each.tokens for each in found)}"
        lines.append(f"| {label} | {math.expm1(differences.mean()):+.2%} | {shown} | {spread} |")
    return lines


def _verdicts(
    row_texts: tuple[str, ...],
    baseline: NDArray[Any],
    differences: NDArray[Any],
    true_rise: float,
    folder: Path,
) -> tuple[Counter[str], int]:
    """(how often each verdict came, the median of the tokens that it took)."""
    moved = differences.copy()
    names = np.array(row_texts)
    for name in set(row_texts):  # each text rises as much as all
        moved[names == name] += math.log1p(true_rise) - differences[names == name].mean()
    found = []
    for seed in range(REPLAYS):
        rows = drawn_rows(row_texts, np.random.default_rng(seed), again=True)
        found.append(judge(row_texts, baseline[rows], moved[rows], folder))
    return Counter(each.verdict for each in found), int(np.median([each.tokens for each in found]))


if __name__ == "__main__":
    main()
