"""Two examples of every command, as its `--help` shows them; the tests parse each."""

from collections.abc import Mapping, Sequence

EXAMPLES: Mapping[str, Sequence[str]] = {
    "machine": (
        "topout machine                       # about half a minute, then kept",
        "topout machine --describe-only --format markdown",
    ),
    "machine list": ("topout machine list", "topout machine list --format csv"),
    "machine show": ("topout machine show h200", "topout machine show ./mine.json --json -"),
    "machine save": ("topout machine save my-laptop", "topout machine save lent-gpu --device cuda"),
    "cost": (
        "topout cost gpt2 --on h200 --on here",
        "topout cost llama-2-70b --on a100-80gb --tp 8 --quantize int8",
    ),
    "cost list": ("topout cost list", "topout cost list --format csv"),
    "cost layers": (
        "topout cost layers distilbert-base-uncased --depth 2",
        "topout cost layers gpt2 --graph gpt2.svg",
    ),
    "cost check": (
        "topout cost check gpt2",
        "topout cost check mixtral-8x7b --prompt-len 64 --json -",
    ),
    "cost example": (
        "topout cost example axpy             # counted, and measured here",
        "topout cost example matmul --n 3328 --on a100-40gb",
    ),
    "run": (
        "topout run gpt2 --random-weights --prompt-len 835 --new-tokens 16",
        "topout run --quick --gemm packed",
    ),
    "profile": (
        "topout profile gpt2 --random-weights --prompt-len 835 --phase prefill",
        "topout profile --phase decode --perfetto trace.json.gz",
    ),
    "climb": (
        "topout climb                         # the bundled model",
        "topout climb gpt2 --random-weights --quick --json climb.json",
    ),
    "climb resume": (
        "topout climb resume topout-runs/20260101-120000-climb-gpt2",
        "topout climb resume topout-runs/20260101-120000-climb-gpt2 --format markdown",
    ),
    "generate": (
        "topout generate bundled 'def fibonacci(n):'",
        "topout generate topout-runs/20260101-120000-climb-gpt2 'import os' --exact",
    ),
    "gemm": (
        "topout gemm --shape 835x768x768 --threads 1,2",
        "topout gemm --source my_gemm.cpp --quick",
    ),
    "gemm init": (
        "topout gemm init my_gemm.cpp",
        "topout gemm init faster.cpp           # then: topout gemm --source faster.cpp",
    ),
    "trace": (
        "topout trace trace.json.gz",
        "topout trace ranks/ --groups coarse --report trace.html",
    ),
    "trace diff": (
        "topout trace diff before.json after.json",
        "topout trace diff monday/ tuesday/ --top 20 --format markdown",
    ),
    "trace runs": (
        "topout trace runs one-gpu.csv two-gpus.csv four-gpus.csv",
        "topout trace runs 1/ 2/ 4/ --groups coarse --json runs.json",
    ),
    "train": (
        "topout train --generated --ranks 1,2 --quick",
        "topout train distilbert-base-uncased --random-weights --data reviews.csv",
    ),
    "schema": ("topout schema climb", "topout schema > topout.schema.json"),
    "completion": (
        'eval "$(topout completion bash)"      # in ~/.bashrc; zsh likewise',
        "topout completion fish > ~/.config/fish/completions/topout.fish",
    ),
}
