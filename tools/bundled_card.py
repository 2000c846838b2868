"""The model card of the bundled models, written from the record of their training."""

import json
import sys
from pathlib import Path
from typing import Any

MINUTE_S = 60.0

CARD = """\
# Model card: {target} and {draft}

Two small GPT-2 models of Python source, trained from random weights for Topout, so that
`topout climb` has something real to run on a machine that cannot reach a model hub. Every figure
here comes from `training.json`; `python tools/bundled_card.py` writes this page again.

| | {target} | {draft} |
|---|---:|---:|
{rows}

Loss is measured in float32 on text that was held out. Bits per byte do not depend on the
tokenizer, so they can be compared with other models of the same text.

## Use

- For measuring speed on trained weights: text that can be recognised, and a held-out loss that a
  wrong kernel makes worse.
- {draft} is the draft model for speculative decoding with {target}. On held-out text both name
  the same most likely token at {greedy:.1%} of positions; sampling at temperature 1, the target
  accepts {sampled:.1%} of the draft's tokens.
- End a prompt with a word or a colon, not with white space: a newline and the indentation after it
  are one token, and a prompt that ends in half of it asks for something never seen.
- Not a coding assistant: the models have learnt how Python looks, not how to program. Greedy
  output soon repeats itself; a draft model is accepted more often there than in real text.

Both are in Hugging Face's layout for GPT-2, with float16 weights and the output layer tied to the
embedding. `GPT2LMHeadModel.from_pretrained(folder)` and `Tokenizer.from_file(...)` load them.

## Data

The source of the standard library of Python {python}: {training_documents} files, {training_mb} MB
and {training_tokens:,} tokens. Left out: all tests, `encodings`, `pydoc_data` and other files
that are mostly tables, and what the build of Python generates.

Held out: {held_out_documents} files, {held_out_kilobytes:.0f} kB, named in `heldout.json`. A file
is held out by a hash of its name, and seven well-known modules always are. The text itself is not
copied here: it is read from the library of the Python that runs, so another version of Python
gives a slightly different loss.

The library's text is under the PSF License Agreement and is not part of this repository. The
weights are under Apache-2.0 like the rest of the project. A model this small can still repeat
phrases of what it read.

## Tokenizer

Byte-level BPE, {vocab_size} tokens, learnt from the training text alone; {bytes_per_token:.2f}
bytes per token on the held-out text. GPT-2's split and byte alphabet, so any text comes back
unchanged. `<|endoftext|>` (token 0) starts each document.

## Training

Windows of {context_len} tokens, bf16 autocast, gradient clipping at {grad_clip}, no dropout. Muon
for the matrices of the blocks, AdamW for the rest, weight decay {weight_decay}. The learning rate
warms up over {warmup_steps} steps, stays, and falls linearly to zero over the last
{decay_fraction:.0%}. {draft}'s loss was {draft_distillation:.0%} Kullback-Leibler divergence from
{target}'s predictions and {draft_cross_entropy:.0%} cross-entropy.

Ran on {processor}, {threads} threads, PyTorch {torch}, while other programs used the machine too;
the times say what it took then, not what the machine can do.

## Samples

{samples}
## Run it again

```
python tools/train_bundled_model.py all --work /tmp/pycode --out /tmp/pycode/bundled
```

Interrupted, the same command goes on from the last checkpoint. `--compile`, which the shipped
models were trained with, makes it about a tenth faster where a C++ compiler is at hand. With it,
set `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184`: otherwise glibc hands the large buffers
back to the kernel at every step, and 4 to 14 % of the processor's time went into page faults.
"""


def model_rows(target: dict[str, Any], draft: dict[str, Any]) -> str:
    """The lines of the comparison table."""

    def row(label: str, *cells: str) -> str:
        return f"| {label} | {' | '.join(cells)} |"

    def shape(model: dict[str, Any]) -> str:
        size = model["shape"]
        return f"{size['n_layer']} / {size['n_embd']} / {size['n_head']}"

    def rates(model: dict[str, Any]) -> str:
        return f"{model['plan']['muon_lr']} / {model['plan']['adamw_lr']}"

    pair = (target, draft)
    return "\n".join(
        [
            row("parameters", *(f"{m['parameters']:,}" for m in pair)),
            row("layers / width / heads", *map(shape, pair)),
            row("steps", *(f"{m['plan']['steps']:,}" for m in pair)),
            row("batch, sequences", *(str(m["plan"]["batch_size"]) for m in pair)),
            row("tokens seen", *(f"{m['tokens_seen']:,}" for m in pair)),
            row("epochs", *(f"{m['epochs']:.2f}" for m in pair)),
            row("highest learning rate, Muon / AdamW", *map(rates, pair)),
            row("wall time, min", *(f"{m['train_s'] / MINUTE_S:.1f}" for m in pair)),
            row("last training loss, nats/token", *(f"{m['curve'][-1][1]:.3f}" for m in pair)),
            *held_out_rows(target["held_out"], draft["held_out"]),
        ]
    )


def held_out_rows(*scores: dict[str, Any]) -> list[str]:
    """The lines on held-out loss, before and after rounding."""
    return [
        f"| held-out loss {label}, {unit} | "
        + " | ".join(f"{score[weights][field]:.4f}" for score in scores)
        + " |"
        for weights, label in (("trained", "as trained"), ("fp16", "in fp16"))
        for field, unit in (("nats_per_token", "nats/token"), ("bits_per_byte", "bits/byte"))
    ]


def render_sample(sample: dict[str, Any]) -> str:
    """One sample with the prompt that led to it."""
    manner = "greedy" if sample["temperature"] == 0 else f"temperature {sample['temperature']}"
    text = (sample["prompt"] + sample["continuation"]).rstrip()
    first_line = sample["prompt"].split("\n")[0]
    return f"{sample['model']}, {manner}, from `{first_line}`:\n\n```\n{text}\n```\n"


def render_card(record: dict[str, Any]) -> str:
    """The whole page."""
    corpus = record["corpus"]
    names = list(record["models"])
    target, draft = (record["models"][name] for name in names)
    distillation = draft["plan"]["distillation_weight"]
    return CARD.format(
        target=names[0],
        draft=names[1],
        rows=model_rows(target, draft),
        greedy=record["agreement"]["greedy"],
        sampled=record["agreement"]["sampled"],
        python=record["python"],
        training_documents=corpus["training_documents"],
        training_mb=f"{corpus['training_bytes'] / 1e6:.1f}",
        training_tokens=corpus["training_tokens"],
        held_out_documents=corpus["held_out_documents"],
        held_out_kilobytes=corpus["held_out_bytes"] / 1e3,
        vocab_size=target["shape"]["vocab_size"],
        bytes_per_token=corpus["held_out_bytes"] / target["held_out"]["trained"]["tokens"],
        context_len=target["shape"]["n_positions"],
        grad_clip=target["plan"]["grad_clip"],
        warmup_steps=target["plan"]["warmup_steps"],
        weight_decay=target["plan"]["weight_decay"],
        decay_fraction=target["plan"]["decay_fraction"],
        draft_distillation=distillation,
        draft_cross_entropy=1 - distillation,
        processor=record["processor"],
        threads=record["threads"],
        torch=record["torch"],
        samples="\n".join(map(render_sample, record["samples"])),
    )


def main() -> None:
    """Rewrite README.md beside the training.json of the folder given, or of the shipped one."""
    shipped = Path(__file__).parents[1] / "src/topout/models/bundled"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else shipped
    record = json.loads((folder / "training.json").read_text("utf-8"))
    (folder / "README.md").write_text(render_card(record), "utf-8")


if __name__ == "__main__":
    main()
