"""Which of the most used architectures `topout cost` counts, and how near the published sizes.

    python benchmarks/architectures.py [NAME…]

Each row of `architectures.jsonl` holds the decisive values of a published `config.json`, and the
parameters that its card or its name states. Every model is counted by the command itself, in a
process of its own, whose time and peak of memory are printed. No weights are read and nothing is
fetched. Of Gemma 3 the formula counts what reads text; transformers ties mT5's head to its table,
which the checkpoint holds twice.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

Fields = dict[str, Any]


class Model(NamedTuple):
    """A published model: parameters in 1e9, of these active ones where not all are."""

    group: str
    name: str
    billions: float
    active: float | None
    config: Fields


def published() -> list[Model]:
    """The rows of `architectures.jsonl` beside this file."""
    rows = (Path(__file__).with_suffix(".jsonl")).read_text(encoding="utf-8").splitlines()
    found = [json.loads(row) for row in rows]
    return [Model(**({"active": None} | row)) for row in found]


class Answer(NamedTuple):
    """What the command said of one model, and what it took."""

    record: Fields | None
    message: str
    seconds: float
    peak_bytes: int


def ask(model: Model, folder: Path) -> Answer:
    """Count one model in a process of its own."""
    path = folder / model.name
    path.mkdir()
    (path / "config.json").write_text(json.dumps(model.config))
    command = [sys.executable, "-m", "topout", "cost", str(path), "--on", "h200", "--json", "-"]
    began = time.perf_counter()
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = status
    said = (folder / "err").read_text().strip().splitlines()
    record = json.loads((folder / "out").read_text()) if status == 0 else None
    return Answer(record, said[-1] if said else "", seconds, usage.ru_maxrss * 1024)


def row(model: Model, answer: Answer) -> str:
    """A line of the table: parameters beside those that were published."""
    took = f"{answer.seconds:.1f} s | {answer.peak_bytes / 2**30:.2f} GiB"
    kind = model.config["model_type"]
    if answer.record is None:
        return f"| {model.name} | {kind} | refused: {answer.message} | | | {took} |"
    counted = answer.record["model"]
    billions, active = counted["parameters"] / 1e9, counted["active_parameters"] / 1e9
    published = f"{model.billions:g}" + (f" ({model.active:g})" if model.active else "")
    found = f"{billions:.4g}" + (f" ({active:.3g})" if model.active else "")
    away = f"{billions / model.billions - 1:+.1%}"
    return f"| {model.name} | {kind} | {found} | {published} | {away} | {took} |"


def main(names: list[str]) -> None:
    """Print the table, and how many were counted."""
    models = [model for model in published() if not names or model.name in names]
    for group, title in (("decoder", "Decoders"), ("other", "Encoders, encoder-decoders, CLIP")):
        chosen = [model for model in models if model.group == group]
        if not chosen:
            continue
        print(f"\n{title}: parameters in 1e9, of a mixture in brackets those of a token\n")
        print("| model | model_type | counted | published | | time | peak memory |")
        print("|---|---|---:|---:|---:|---:|---:|")
        counted = 0
        with tempfile.TemporaryDirectory() as folder:
            for model in chosen:
                answer = ask(model, Path(folder))
                counted += answer.record is not None
                print(row(model, answer), flush=True)
        print(f"\n{counted} of {len(chosen)} are counted.")


if __name__ == "__main__":
    main(sys.argv[1:])
