"""Train a small GPT-2 on the CPU: batches, optimizers, schedule, checkpoints."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from bundled_tokenizer import END_OF_TEXT_ID
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

CONTEXT_LEN = 512
LOG_EVERY_STEPS = 20
SAVE_EVERY_S = 120.0


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a GPT-2."""

    vocab_size: int
    n_embd: int
    n_layer: int
    n_head: int
    n_positions: int = CONTEXT_LEN


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides the outcome of one training run."""

    steps: int
    batch_size: int = 8
    muon_lr: float = 3e-3
    adamw_lr: float = 3e-3
    weight_decay: float = 0.1
    warmup_steps: int = 50
    decay_fraction: float = 0.45
    grad_clip: float = 1.0
    distillation_weight: float = 0.0
    optimizer: str = "muon"
    seed: int = 1

    def lr_factor(self, step: int) -> float:
        """Linear warmup, a flat stretch, then a linear descent to zero.

        Unlike a cosine, the flat stretch leaves the end of the run open until the descent starts.
        """
        warm = (step + 1) / max(1, self.warmup_steps)
        left = (self.steps - step) / max(1.0, self.steps * self.decay_fraction)
        return max(0.0, min(1.0, warm, left))


@dataclass(slots=True)
class Progress:
    """What a run has done so far; saved with its checkpoint."""

    step: int = 0
    train_s: float = 0.0
    curve: list[tuple[int, float]] = field(default_factory=list)


def build_model(shape: Shape, seed: int) -> GPT2LMHeadModel:
    """A randomly initialised GPT-2; its output layer is its embedding."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=shape.vocab_size,
        n_embd=shape.n_embd,
        n_layer=shape.n_layer,
        n_head=shape.n_head,
        n_positions=shape.n_positions,
        # The same function as GPT-2's gelu_new, in one fused kernel instead of eight small ones.
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=END_OF_TEXT_ID,
        eos_token_id=END_OF_TEXT_ID,
        use_cache=False,
    )
    return GPT2LMHeadModel(config)


def parameter_count(model: torch.nn.Module) -> int:
    """Parameters, with the tied embedding counted once."""
    return sum(p.numel() for p in model.parameters())


class Batches:
    """Windows of a token stream, reshuffled every epoch; any step's batch can be had directly."""

    def __init__(self, stream: Tensor, batch_size: int, context_len: int, seed: int) -> None:
        """Cut `stream` (1-D, int64) into windows of `context_len` inputs and their targets."""
        self._stream = stream
        self._batch_size = batch_size
        self._context_len = context_len
        self._seed = seed
        # One window less than would fit, so that each epoch can start at another offset.
        self._windows = (stream.numel() - 1) // context_len - 1
        if self._windows < batch_size:
            needed = (batch_size + 1) * context_len + 1
            raise ValueError(f"{stream.numel()} tokens are too few for a batch; give {needed}")
        self._epoch = -1
        self._starts = torch.empty(0, dtype=torch.int64)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the stream."""
        return self._windows // self._batch_size

    @property
    def tokens_per_batch(self) -> int:
        """Tokens that one step predicts."""
        return self._batch_size * self._context_len

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of `step`, each [batch_size, context_len]."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self._seed * 100_003 + epoch)
            offset = int(torch.randint(self._context_len, (), generator=generator))
            order = torch.randperm(self._windows, generator=generator)
            self._starts = order * self._context_len + offset
            self._epoch = epoch
        starts = self._starts[index * self._batch_size : (index + 1) * self._batch_size]
        positions = starts[:, None] + torch.arange(self._context_len + 1)
        tokens = self._stream[positions]
        return tokens[:, :-1], tokens[:, 1:]


def build_optimizers(model: GPT2LMHeadModel, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices and AdamW for the rest, or AdamW for all."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and name.startswith("transformer.h.")]
    tables = [p for name, p in named if p.ndim == 2 and not name.startswith("transformer.h.")]
    vectors = [p for _, p in named if p.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": tables, "weight_decay": plan.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if plan.optimizer == "adamw":
        groups.append({"params": matrices, "weight_decay": plan.weight_decay})
    adamw = torch.optim.AdamW(groups, lr=plan.adamw_lr, betas=(0.9, 0.95))
    if plan.optimizer == "adamw":
        return [adamw]
    muon = torch.optim.Muon(
        matrices,
        lr=plan.muon_lr,
        weight_decay=plan.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return [muon, adamw]


def batch_loss(
    model: Callable[..., Any],
    inputs: Tensor,
    targets: Tensor,
    teacher: GPT2LMHeadModel | None,
    distillation_weight: float,
) -> tuple[Tensor, float]:
    """The loss to descend, and the plain cross-entropy in nats per token for the log."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=inputs).logits
    log_probs = functional.log_softmax(logits.float().flatten(0, 1), dim=-1)
    cross_entropy = functional.nll_loss(log_probs, targets.flatten())
    if teacher is None:
        return cross_entropy, float(cross_entropy.detach())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        teacher_logits = teacher(input_ids=inputs).logits
    teacher_log_probs = functional.log_softmax(teacher_logits.float().flatten(0, 1), dim=-1)
    divergence = functional.kl_div(
        log_probs, teacher_log_probs, reduction="batchmean", log_target=True
    )
    loss = distillation_weight * divergence + (1 - distillation_weight) * cross_entropy
    return loss, float(cross_entropy.detach())


def save_checkpoint(
    folder: Path,
    model: GPT2LMHeadModel,
    optimizers: Sequence[torch.optim.Optimizer],
    progress: Progress,
) -> None:
    """Write weights, optimizer states and progress as one safetensors file, replaced whole."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    tensors = {f"model/{name}": p.detach() for p, name in names.items()}
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            for key, value in state.items():
                tensors[f"optimizer/{names[parameter]}/{key}"] = torch.as_tensor(value)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "checkpoint.partial"
    save_file(tensors, partial, metadata={"progress": json.dumps(asdict(progress))})
    partial.replace(folder / "checkpoint.safetensors")


def load_checkpoint(
    folder: Path, model: GPT2LMHeadModel, optimizers: Sequence[torch.optim.Optimizer]
) -> Progress:
    """Restore what `save_checkpoint` wrote; a fresh `Progress` if there is nothing."""
    file = folder / "checkpoint.safetensors"
    if not file.exists():
        return Progress()
    parameters = dict(model.named_parameters())
    owner = {
        parameter: optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    with safe_open(file, framework="pt") as stored:
        saved = json.loads(stored.metadata()["progress"])
        for key in stored.keys():  # noqa: SIM118 - a safetensors file is not iterable
            kind, name, *rest = key.split("/")
            value = stored.get_tensor(key)
            if kind == "model":
                parameters[name].data.copy_(value)
            elif parameters[name] in owner:
                owner[parameters[name]].state[parameters[name]][rest[0]] = value
    curve = [(int(step), float(loss)) for step, loss in saved["curve"]]
    return Progress(step=saved["step"], train_s=saved["train_s"], curve=curve)


def train(
    model: GPT2LMHeadModel,
    stream: Tensor,
    plan: Plan,
    folder: Path,
    *,
    teacher: GPT2LMHeadModel | None = None,
    compiled: bool = False,
) -> Progress:
    """Train `model` in place, from the checkpoint in `folder` if there is one."""
    batches = Batches(stream, plan.batch_size, model.config.n_positions, plan.seed)
    optimizers = build_optimizers(model, plan)
    base_lrs = [[group["lr"] for group in opt.param_groups] for opt in optimizers]
    progress = load_checkpoint(folder, model, optimizers)
    forward: Callable[..., Any] = torch.compile(model) if compiled else model
    model.train()
    recent: list[float] = []
    unsaved_s = 0.0
    for step in range(progress.step, plan.steps):
        started_s = time.monotonic()
        set_learning_rates(optimizers, base_lrs, plan.lr_factor(step))
        loss, nats = batch_loss(forward, *batches.at(step), teacher, plan.distillation_weight)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), plan.grad_clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        recent.append(nats)
        step_s = time.monotonic() - started_s
        progress.step, progress.train_s = step + 1, progress.train_s + step_s
        unsaved_s += step_s
        if progress.step % LOG_EVERY_STEPS == 0 or progress.step == plan.steps:
            progress.curve.append((progress.step, sum(recent) / len(recent)))
            recent.clear()
            report_progress(plan, progress, batches)
        if unsaved_s > SAVE_EVERY_S or progress.step == plan.steps:
            save_checkpoint(folder, model, optimizers, progress)
            unsaved_s = 0.0
    model.train(mode=False)
    return progress


def set_learning_rates(
    optimizers: Sequence[torch.optim.Optimizer], base_lrs: list[list[float]], factor: float
) -> None:
    """Scale every parameter group's own rate by `factor`."""
    for optimizer, lrs in zip(optimizers, base_lrs, strict=True):
        for group, lr in zip(optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr * factor


def report_progress(plan: Plan, progress: Progress, batches: Batches) -> None:
    """One line on stderr; speed and time left are averages over the whole run."""
    step_s = progress.train_s / progress.step
    print(
        f"step {progress.step}/{plan.steps}"
        f"  epoch {progress.step / batches.steps_per_epoch:.2f}"
        f"  loss {progress.curve[-1][1]:.4f} nats/token"
        f"  lr x{plan.lr_factor(progress.step):.2f}"
        f"  {batches.tokens_per_batch / step_s:.0f} tokens/s"
        f"  {(plan.steps - progress.step) * step_s / 60:.1f} min left",
        file=sys.stderr,
        flush=True,
    )
