"""The passes of a model of transformers on meta tensors: a prompt, one more token, a whole pass.

What a pass leaves for the next one is the model's own: a cache of keys and values, of latents, of
states, in whichever object it makes, under the name by which it takes it.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from topout.errors import InputError
from topout.models.hub import offline
from topout.models.structure.build import DEFAULT_IMAGE_SIZE, Inputs, quiet_transformers

Kind = Literal["decoder", "encoder", "encoder_decoder", "image"]

_KEPT_AS = ("past_key_values", "cache_params", "state", "mems")
_MEL_BINS = 80
_MOST_ELEMENTS = 1 << 40  # of an input; products of its sizes have to stay below 2⁶³


class Passed(NamedTuple):
    """What a pass gave, and what it left for the next one under the name that this is taken by."""

    output: Any
    kept_as: str | None
    kept: Any


class KeptPart(NamedTuple):
    """A tensor of what a model keeps, where it lies in it, and the window of its layer, if any."""

    place: str
    tensor: Tensor
    window: int | None


class ModelSteps:
    """Runs the passes of one module; `kind` says which there are."""

    def __init__(self, module: nn.Module) -> None:
        config: Any = module.config
        self.module = module
        self.config = config
        self.text_config: Any = config.get_text_config(decoder=True)
        self._taken = inspect.signature(module.forward).parameters
        self.kind = _kind(module, set(self._taken))
        self._masked = False
        self.on_failure: Callable[[], None] = lambda: None  # before another try

    @property
    def source_len(self) -> int | None:
        """Positions of the encoder where every input has as many: sound of a fixed length."""
        fixed = getattr(self.config, "max_source_positions", None)
        return fixed if "input_features" in self._taken and isinstance(fixed, int) else None

    def prompt(self, batch_size: int, length: int) -> Passed:
        """All tokens of the prompt; logits of the last, where the model can leave out the others.

        Of an encoder-decoder the encoder reads them, and the decoder its first token.
        """
        inputs = self._source(batch_size, length)
        if self.kind == "encoder_decoder":
            inputs["decoder_input_ids"] = _tokens(batch_size, 1)
        return self._run(inputs | self._with_cache() | self._last_logits(), length)

    def primed(self, batch_size: int, context_len: int, source_len: int) -> Passed:
        """A pass that leaves what `context_len` tokens leave."""
        if self.kind != "encoder_decoder":
            return self.prompt(batch_size, context_len)
        inputs = self._source(batch_size, source_len)
        inputs["decoder_input_ids"] = _tokens(batch_size, context_len)
        return self._run(inputs | self._with_cache() | self._last_logits(), source_len)

    def next_token(self, batch_size: int, before: Passed, context_len: int) -> Passed:
        """One more token of each sequence, the `context_len`-th, after another pass."""
        inputs: Inputs = {"use_cache": True}
        if before.kept_as is not None:
            inputs[before.kept_as] = before.kept
        name = "input_ids"
        if self.kind == "encoder_decoder":
            name = "decoder_input_ids"
            inputs["encoder_outputs"] = (before.output.encoder_last_hidden_state,)
        inputs[name] = _tokens(batch_size, 1)
        return self._run(inputs, context_len)

    def whole(self, batch_size: int, length: int) -> Passed:
        """A pass with logits of all positions.

        A decoder is given a cache as ever: without one, and without a mask, it looks into the
        positions for where one text ends.
        """
        inputs = self._source(batch_size, length) | self._with_cache()
        if self.kind == "encoder_decoder":
            inputs["decoder_input_ids"] = _tokens(batch_size, length)
        return self._run(inputs, length)

    def _with_cache(self) -> Inputs:
        generates = self.kind in ("decoder", "encoder_decoder") and "use_cache" in self._taken
        return {"use_cache": True} if generates else {}

    def _last_logits(self) -> Inputs:
        return {"logits_to_keep": 1} if "logits_to_keep" in self._taken else {}

    def _source(self, batch_size: int, length: int) -> Inputs:
        taken, inputs = self._taken, dict[str, Any]()
        if "input_features" in taken and "input_ids" not in taken:
            inputs["input_features"] = self._sound(batch_size)
        if "input_ids" in taken:
            inputs["input_ids"] = _tokens(batch_size, length)
        shown = self.kind == "image" or (self.kind == "encoder" and self._needs_images())
        if shown and "pixel_values" in taken:
            inputs["pixel_values"] = self._image(batch_size)
        return inputs

    def _needs_images(self) -> bool:
        """Whether an encoder reads images beside text: CLIP and its like."""
        return getattr(self.config, "vision_config", None) is not None

    def _image(self, batch_size: int) -> Tensor:
        config = getattr(self.config, "vision_config", None) or self.config
        size = getattr(config, "image_size", DEFAULT_IMAGE_SIZE)
        height, width = size if isinstance(size, list | tuple) else (size, size)
        shape = (batch_size, getattr(config, "num_channels", 3), height, width)
        return torch.zeros(*shape, dtype=self._dtype(), device="meta")

    def _sound(self, batch_size: int) -> Tensor:
        """Frames of a spectrum, two for each position of the encoder."""
        bins = getattr(self.config, "num_mel_bins", _MEL_BINS)
        frames = 2 * self.config.max_source_positions
        return torch.zeros(batch_size, bins, frames, dtype=self._dtype(), device="meta")

    def _dtype(self) -> torch.dtype:
        return next(self.module.parameters()).dtype

    def _run(self, inputs: Inputs, length: int) -> Passed:
        """Without a mask, which many models look into; with one where a model needs it."""
        batch_size = next(each for each in inputs.values() if isinstance(each, Tensor)).shape[0]
        with quiet_transformers(), offline(), torch.no_grad():
            if not self._masked:
                try:
                    return self._passed(self.module(**inputs))
                except Exception:
                    if "attention_mask" not in self._taken or "input_ids" not in inputs:
                        raise
                    self.on_failure()
            mask = torch.ones(batch_size, length, dtype=torch.bool, device="meta")
            passed = self._passed(self.module(**inputs, attention_mask=mask))
            self._masked = True
            return passed

    def _passed(self, output: Any) -> Passed:
        found = ((name, getattr(output, name, None)) for name in _KEPT_AS)
        kept_as, kept = next(((n, kept) for n, kept in found if kept is not None), (None, None))
        return Passed(output, kept_as, kept)


def kept_parts(kept: Any) -> list[KeptPart]:
    """The tensors of what a model keeps; a tensor that lies in two places is there once."""
    parts: list[KeptPart] = []
    seen: set[int] = set()
    for place, tensor, window in _tensors("", kept, None, set()):
        storage = tensor.untyped_storage()._cdata
        if tensor.dim() >= 2 and tensor.numel() and storage not in seen:
            seen.add(storage)
            parts.append(KeptPart(place, tensor, window))
    return parts


def _tensors(
    place: str, value: Any, window: int | None, seen: set[int]
) -> Iterator[tuple[str, Tensor, int | None]]:
    if isinstance(value, Tensor):
        yield place, value, window
        return
    items: Any = ()
    if isinstance(value, list | tuple):
        items = enumerate(value)
    elif isinstance(value, dict):
        items = value.items()
    elif hasattr(value, "__dict__") and type(value).__module__.startswith("transformers.models"):
        items = vars(value).items()
    elif hasattr(value, "__dict__") and type(value).__module__ == "transformers.cache_utils":
        items = vars(value).items()
        window = getattr(value, "sliding_window", None)
    if id(value) in seen or "config" in type(value).__name__.lower():
        return
    seen.add(id(value))
    for name, each in items:
        yield from _tensors(f"{place}.{name}", each, window, seen)


def _tokens(batch_size: int, length: int) -> Tensor:
    if batch_size * length > _MOST_ELEMENTS:
        raise InputError(
            f"an input of {batch_size} × {length} is larger than any machine holds.",
            "Give a smaller --batch-size or --prompt-len.",
        )
    return torch.zeros(batch_size, length, dtype=torch.long, device="meta")


def _kind(module: nn.Module, taken: set[str]) -> Kind:
    config: Any = module.config
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in taken:
        return "encoder_decoder"
    can_generate = getattr(module, "can_generate", None)
    if "input_ids" in taken and can_generate is not None and can_generate():
        return "decoder"
    return "encoder" if "input_ids" in taken else "image"
