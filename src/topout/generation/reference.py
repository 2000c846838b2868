"""What a session says of held-out text: what other sessions are held to.

The logits come from one large pass over each window (teacher-forced). How far the session's own
prefill and decode lie from that is its `noise`: two ways to sum the same, different by rounding.
"""

from pathlib import Path

import msgspec
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from topout.errors import WeightsError
from topout.generation.session import Session
from topout.tensor_file import writing_tensors

# An exact rung may sum in another order than the two evaluations that gave `noise` did; over
# hundreds of layers' sums the largest of many thousand errors scatters by such a factor.
NOISE_MARGIN = 16.0
LEAST_RELATIVE_NOISE = 1e-6  # of the largest logit: a few units in the last place of fp32
LEAST_RELATIVE_NOISE_BF16 = 2**-9  # half a unit in the last place of bf16


class Reference(msgspec.Struct, frozen=True):
    """Texts [W, L], logits [W, T, V] fp32, greedy tokens [B, T] and margins [B, T].

    Of window w the T tokens behind the first `prompt_lens[w]` are scored; the greedy tokens
    continue the prompts of the first B windows.
    """

    texts: Tensor
    prompt_lens: list[int]
    logits: Tensor
    greedy: Tensor
    greedy_margins: Tensor
    noise: float

    @property
    def tolerance(self) -> float:
        """How far a logit of an exact rung may lie from the reference's."""
        return tolerance_of(self.noise, self.logits)

    @property
    def scored_tokens(self) -> int:
        """T."""
        return self.logits.shape[1]

    @property
    def prompts(self) -> Tensor:
        """The prompts [B, S] that `greedy` continues."""
        return self.texts[: len(self.greedy), : self.prompt_lens[0]]

    def targets(self, window: int) -> Tensor:
        """The tokens [T] that are scored."""
        first = self.prompt_lens[window]
        return self.texts[window, first : first + self.scored_tokens]

    def first(self, windows: int) -> "Reference":
        """The same of the first windows alone."""
        return msgspec.structs.replace(
            self,
            texts=self.texts[:windows],
            prompt_lens=self.prompt_lens[:windows],
            logits=self.logits[:windows],
        )

    def save(self, path: Path) -> None:
        """Write to a safetensors file."""
        tensors = {
            "texts": self.texts,
            "prompt_lens": torch.tensor(self.prompt_lens),
            "logits": self.logits,
            "greedy": self.greedy,
            "greedy_margins": self.greedy_margins,
        }
        save_with_noise(tensors, self.noise, path)

    @classmethod
    def load(cls, path: Path) -> "Reference":
        """Read what `save` wrote."""
        tensors, noise = load_with_noise(path)
        prompt_lens = tensors.pop("prompt_lens").tolist()
        return cls(prompt_lens=prompt_lens, noise=noise, **tensors)


def save_with_noise(tensors: dict[str, Tensor], noise: float, path: Path) -> None:
    """Write what a reference holds to a safetensors file; raises OutputError."""
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with writing_tensors(path, "run folder"):
        save_file(contiguous, path, {"noise": repr(noise)})


def load_with_noise(path: Path) -> tuple[dict[str, Tensor], float]:
    """Read what `save_with_noise` wrote."""
    with safe_open(path, framework="pt") as file:
        noise = float(file.metadata()["noise"])
    return load_file(path), noise


def make_reference(
    session: Session, texts: Tensor, prompt_lens: list[int], count: int, batch_size: int
) -> Reference:
    """Score `count` tokens of each text [W, L] behind its prompt, `batch_size` texts at a time.

    Texts of one batch have prompts of one length. The first batch is also scored step by step and
    continued. Raises WeightsError where weights or logits are not finite.
    """
    groups = grouped(texts, prompt_lens, count, batch_size)
    at_once = [session.score_at_once(rows, prompt_len) for rows, prompt_len in groups]
    if not all(bool(torch.isfinite(logits).all()) for logits in at_once):
        raise not_finite(session.module)
    first, prompt_len = groups[0]
    difference = float((session.score(first, prompt_len) - at_once[0]).abs().max())
    noise = rounding_noise(session.module, difference, at_once[0])
    prompts = first[:, :prompt_len]
    greedy = session.generate(prompts, count).tokens
    continued = torch.cat([prompts, greedy], dim=1)
    return Reference(
        texts=texts,
        prompt_lens=prompt_lens,
        logits=torch.cat(at_once),
        greedy=greedy,
        greedy_margins=margins_of(session.score_at_once(continued, prompt_len)),
        noise=noise,
    )


def tolerance_of(noise: float, outputs: Tensor) -> float:
    """How far an output may lie from `outputs` where summing in another order gave `noise`."""
    return NOISE_MARGIN * max(noise, LEAST_RELATIVE_NOISE * float(outputs.abs().max()))


def rounding_noise(module: nn.Module, difference: float, outputs: Tensor) -> float:
    """The noise that two evaluations of a module show; in bf16 they may agree by chance."""
    if next(module.parameters()).dtype != torch.bfloat16:
        return difference
    return max(difference, LEAST_RELATIVE_NOISE_BF16 * float(outputs.abs().max()))


def not_finite(module: nn.Module) -> WeightsError:
    """Names the weights that are the cause, where they are."""
    bad = [name for name, each in module.named_parameters() if not torch.isfinite(each).all()]
    if not bad:
        return WeightsError(
            "the model's logits are not finite, although its weights are.",
            "Try --dtype fp32, whose range is wider.",
        )
    others = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    return WeightsError(
        f"{bad[0]}{others} of the weights hold NaN or infinite values.",
        "Download the checkpoint again, or save it anew.",
    )


def grouped(
    texts: Tensor, prompt_lens: list[int], count: int, batch_size: int
) -> list[tuple[Tensor, int]]:
    """(rows [B, prompt + count], prompt) of each batch of texts [W, L]."""
    lens = prompt_lens[::batch_size]
    return [
        (rows[:, : prompt_len + count], prompt_len)
        for rows, prompt_len in zip(torch.split(texts, batch_size), lens, strict=True)
    ]


def margins_of(logits: Tensor) -> Tensor:
    """Best logit minus second best [...]."""
    best = logits.topk(2, dim=-1).values
    return best[..., 0] - best[..., 1]
