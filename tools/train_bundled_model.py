"""Train the models that Topout ships: `python tools/train_bundled_model.py all --work FOLDER`.

Stages, each of which can be run alone and goes on where an interrupted run stopped:
  target    learn the tokenizer from the training text and train pycode-7m
  draft     train pycode-1m on pycode-7m's predictions, for speculative decoding
  publish   round to fp16, score on the held-out text, write models, record and model card
"""

import argparse
import platform
import random
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from bundled_card import render_card
from bundled_corpus import Corpus, corpus_digest, read_corpus, standard_library
from bundled_publish import continue_text, round_to_fp16, write_held_out, write_json, write_model
from bundled_scoring import measure_agreement, score
from bundled_tokenizer import VOCAB_SIZE, encode_document, train_tokenizer
from bundled_training import (
    Batches,
    Plan,
    Progress,
    Shape,
    build_model,
    load_checkpoint,
    parameter_count,
    train,
)
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GPT2LMHeadModel

STAGES = ("target", "draft", "publish")
SHIPPED = Path(__file__).parents[1] / "src/topout/models/bundled"
DOCUMENT_ORDER_SEED = 1
SAMPLE_TOKENS = 120
# Without a newline at the end: a newline and the indentation after it are one token.
SAMPLE_PROMPTS = (
    "def read_lines(path, encoding=None):",
    "def parse_arguments(argv):",
)
SAMPLE_TEMPERATURES = (0.0, 0.8)


@dataclass(frozen=True, slots=True)
class Member:
    """One of the two models: its name, size and training."""

    name: str
    shape: Shape
    plan: Plan


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides what is trained; tests run the same stages on a tiny one."""

    target: Member
    draft: Member

    @property
    def members(self) -> tuple[Member, Member]:
        """The big model, then the small one."""
        return self.target, self.draft


RECIPE = Recipe(
    target=Member(
        "pycode-7m",
        Shape(VOCAB_SIZE, n_embd=256, n_layer=8, n_head=4),
        Plan(steps=2600),
    ),
    draft=Member(
        "pycode-1m",
        Shape(VOCAB_SIZE, n_embd=128, n_layer=2, n_head=2),
        Plan(steps=800, muon_lr=5e-3, adamw_lr=5e-3, distillation_weight=0.8, seed=2),
    ),
)


def learn_tokenizer(recipe: Recipe, corpus: Corpus, work: Path) -> Tokenizer:
    """The tokenizer in `work`, learnt first if it is not there yet."""
    file = work / "tokenizer.json"
    if not file.exists():
        work.mkdir(parents=True, exist_ok=True)
        vocab_size = recipe.target.shape.vocab_size
        train_tokenizer(corpus.training.values(), vocab_size).save(str(file))
    return Tokenizer.from_file(str(file))


def token_stream(corpus: Corpus, tokenizer: Tokenizer) -> Tensor:
    """All training documents in a random order, as one int64 vector."""
    texts = list(corpus.training.values())
    random.Random(DOCUMENT_ORDER_SEED).shuffle(texts)
    return torch.tensor([i for text in texts for i in encode_document(tokenizer, text)])


def load_trained(member: Member, work: Path) -> tuple[GPT2LMHeadModel, Progress]:
    """A model whose training is finished."""
    model = build_model(member.shape, member.plan.seed)
    progress = load_checkpoint(work / member.name, model, [])
    if progress.step != member.plan.steps:
        raise SystemExit(
            f"{member.name} in {work} is at step {progress.step} of {member.plan.steps};"
            " finish its stage first"
        )
    model.train(mode=False)
    return model, progress


def train_target(recipe: Recipe, corpus: Corpus, work: Path, *, compiled: bool) -> None:
    """Train the big model."""
    member = recipe.target
    stream = token_stream(corpus, learn_tokenizer(recipe, corpus, work))
    model = build_model(member.shape, member.plan.seed)
    train(model, stream, member.plan, work / member.name, compiled=compiled)


def train_draft(recipe: Recipe, corpus: Corpus, work: Path, *, compiled: bool) -> None:
    """Train the small model on what the big one predicts."""
    member = recipe.draft
    stream = token_stream(corpus, learn_tokenizer(recipe, corpus, work))
    teacher, _ = load_trained(recipe.target, work)
    model = build_model(member.shape, member.plan.seed)
    train(model, stream, member.plan, work / member.name, teacher=teacher, compiled=compiled)


def publish(recipe: Recipe, corpus: Corpus, work: Path, out: Path) -> None:
    """Write everything that ships into `out`."""
    tokenizer = learn_tokenizer(recipe, corpus, work)
    stream = token_stream(corpus, tokenizer)
    documents = [encode_document(tokenizer, text) for text in corpus.held_out.values()]
    held_out_bytes = sum(len(text.encode()) for text in corpus.held_out.values())
    models: dict[str, Any] = {}
    rounded: list[GPT2LMHeadModel] = []
    for member in recipe.members:
        model, progress = load_trained(member, work)
        rounded.append(round_to_fp16(model))
        write_model(model, work / "tokenizer.json", out / member.name)
        models[member.name] = training_record(member, progress, stream) | {
            "parameters": parameter_count(model),
            "held_out": {
                "trained": asdict(score(model, documents, held_out_bytes)),
                "fp16": asdict(score(rounded[-1], documents, held_out_bytes)),
            },
        }
    target, draft = rounded
    record = {
        "schema_version": 1,
        **describe_run(),
        "corpus": describe_corpus(corpus, stream.numel()),
        "models": models,
        "agreement": asdict(measure_agreement(draft, target, documents)),
        "samples": draw_samples(recipe.target.name, target, tokenizer),
    }
    write_held_out(out / "heldout.json", platform.python_version(), corpus.held_out)
    write_json(out / "training.json", record)
    (out / "README.md").write_text(render_card(record), "utf-8")


def training_record(member: Member, progress: Progress, stream: Tensor) -> dict[str, Any]:
    """Shape, plan and course of one training run."""
    plan = member.plan
    batches = Batches(stream, plan.batch_size, member.shape.n_positions, plan.seed)
    return {
        "shape": asdict(member.shape),
        "plan": asdict(plan),
        "tokens_seen": plan.steps * batches.tokens_per_batch,
        "epochs": plan.steps / batches.steps_per_epoch,
        "train_s": round(progress.train_s, 1),
        "curve": [[step, round(nats, 4)] for step, nats in progress.curve],
    }


def describe_run() -> dict[str, Any]:
    """The software and the processor that trained."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
    }


def processor_name() -> str:
    """The processor's name with the widest vectors that PyTorch uses on it."""
    info = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    name = names[0] if names else platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def describe_corpus(corpus: Corpus, training_tokens: int) -> dict[str, Any]:
    """Sizes and digests of the two parts of the corpus."""
    described: dict[str, Any] = {"training_tokens": training_tokens}
    for part, documents in (("training", corpus.training), ("held_out", corpus.held_out)):
        described[f"{part}_documents"] = len(documents)
        described[f"{part}_bytes"] = sum(len(text.encode()) for text in documents.values())
        described[f"{part}_sha256"] = corpus_digest(documents)
    return described


def draw_samples(name: str, model: GPT2LMHeadModel, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """What the model writes after each of our own prompts."""
    samples: list[dict[str, Any]] = []
    for prompt in SAMPLE_PROMPTS:
        prompt_ids = encode_document(tokenizer, prompt)
        for seed, temperature in enumerate(SAMPLE_TEMPERATURES):
            new_ids = continue_text(model, prompt_ids, SAMPLE_TOKENS, temperature, seed)
            samples.append(
                {
                    "model": name,
                    "prompt": prompt,
                    "temperature": temperature,
                    "seed": seed,
                    "continuation": tokenizer.decode(new_ids),
                }
            )
    return samples


def run_stages(
    stages: tuple[str, ...],
    recipe: Recipe,
    corpus: Corpus,
    work: Path,
    out: Path,
    *,
    compiled: bool = False,
) -> None:
    """Run `stages` in their order."""
    if "target" in stages:
        train_target(recipe, corpus, work, compiled=compiled)
    if "draft" in stages:
        train_draft(recipe, corpus, work, compiled=compiled)
    if "publish" in stages:
        publish(recipe, corpus, work, out)


def main(arguments: list[str]) -> None:
    """Run the stages that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=[*STAGES, "all"])
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder for what is published")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true", help="use torch.compile")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    stages = STAGES if options.stage == "all" else (options.stage,)
    corpus = read_corpus(standard_library())
    run_stages(stages, RECIPE, corpus, options.work, options.out, compiled=options.compile)


if __name__ == "__main__":
    main(sys.argv[1:])
