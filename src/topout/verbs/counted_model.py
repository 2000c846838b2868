"""A model that no formulas describe, counted by running the module that transformers builds of it.

Nothing is computed and no memory taken: its parameters and all that runs are shapes.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
from torch import Tensor, nn

from topout.cost.counted import Backward, Counting
from topout.cost.graph.kernels import Fused
from topout.cost.graph.longer import at_length
from topout.cost.graph.module_count import ModuleCount, Run
from topout.cost.ops import Op
from topout.errors import TopoutError, UnsupportedError, told
from topout.models.architecture import Architecture, Counted, KeptTensor
from topout.models.architectures.read import FoundConfig
from topout.models.fields import Fields
from topout.models.stored_weights import stored_weights
from topout.models.structure.build import build_on_meta, text_part
from topout.models.structure.stand_ins import StandIns, standing_in
from topout.models.structure.steps import ModelSteps, Passed, kept_parts

# Lengths at which a model is looked at: below any window, twice, and above most windows.
_SHORT, _ONCE, _TWICE, _LONG = 8, 256, 512, 131_072
_LONG_BY_CHUNKS = 4096
# The pieces whose multiples stand for longer inputs where a model loops over tokens, or chunks.
_TOKENS, _CHUNKS = 8, 256


def counted_model(found: FoundConfig, dtype: str) -> tuple[Architecture, Counting]:
    """The model of a `config.json` as far as its module tells, and what counts passes of it.

    Raises UnsupportedError for what transformers does not have or what does not run on shapes
    alone, InputError for a config that transformers refuses.
    """
    failure: TopoutError | None = None
    for form in _forms(found.config_json, dtype):
        try:
            module = build_on_meta(form.config_json, found.name, form.dtype)
        except TopoutError as error:
            failure = failure or error
            continue
        try:
            counting = ModulePasses(module)
            counting.look()
        except Exception as error:  # a model's own code, which meets tensors without content
            failure = failure or _does_not_run(found, module, error)
            continue
        return counting.architecture(found, form.left_out), counting
    assert failure is not None
    raise failure


class _Form(NamedTuple):
    """A way in which a model may build and run."""

    config_json: dict[str, Any]
    dtype: str
    left_out: list[str]


def _forms(config_json: dict[str, Any], dtype: str) -> Iterator[_Form]:
    """The model as it is stated; in fp32, where its code mixes types; then its text part alone."""
    yield _Form(config_json, dtype, [])
    part = text_part(config_json)
    if part is not None:
        sees = "The part that sees or hears, and what turns its output into tokens."
        yield _Form(part, dtype, [sees])
    if dtype != "fp32":
        yield _Form(config_json, "fp32", [])


def _does_not_run(found: FoundConfig, module: nn.Module, error: Exception) -> UnsupportedError:
    return UnsupportedError(
        f"{found.name}: {type(module).__name__} does not run on shapes alone ({told(error)}).",
        "`topout.cost.graph.count` counts it on real tensors.",
    )


class ModulePasses(Counting):
    """Counts the passes of one module, each once."""

    def __init__(self, module: nn.Module, *, skip: bool = True) -> None:
        self.steps = ModelSteps(module)
        self.count = ModuleCount(module, sees=self.steps.kind == "image", skip=skip)
        self.kept: list[KeptTensor] = []
        self.working_per_token = 0.0  # numbers
        self._fused: dict[tuple[Any, ...], Fused] = {}
        self._unknown: set[str] = set()  # ops without a formula
        self._piece: int | None = None  # where it loops over the sequence

    def prefill(self, batch_size: int, length: int) -> list[Op]:
        """The prompt, of which the last token gets logits, where the model can leave out others."""
        return self.count.ops(self._found("prompt", batch_size, length))

    def decode(self, batch_size: int, context_len: int, source_len: int) -> list[Op]:
        """One more token of each sequence, which is the `context_len`-th."""
        if context_len == 1:
            return self.prefill(batch_size, 1)
        return self.count.ops(self._found("next", batch_size, context_len, source_len))

    def forward(self, batch_size: int, length: int) -> list[Op]:
        """All tokens, with logits of all."""
        return self.count.ops(self._found("whole", batch_size, length))

    def backward(self, batch_size: int, length: int) -> Backward:
        """What the backward of such a pass needs of it."""
        kept = self._found("whole", batch_size, length).kept
        width = _number(self.steps.text_config, "hidden_size") or 0
        tokens = batch_size * length
        return self.count.backward(kept, tokens, tokens * width)

    def look(self) -> None:
        """Run it at some lengths: what it keeps, and how that grows.

        Raises whatever the module does.
        """
        if self.steps.kind in ("encoder", "image"):
            length = self._at_most(_ONCE)
            self._note_working(self._run("whole", 1, length), length)
            return
        step = "primed" if self.steps.kind == "encoder_decoder" else "prompt"
        lengths = [self._at_most(each) for each in (_SHORT, 2 * _SHORT)]
        runs = [self._run(step, 1, each, each) for each in lengths]
        if _calls(runs[1]) - _calls(runs[0]) >= _SHORT:  # an op, or more, for each token
            self._piece = _TOKENS
        else:
            lengths += [self._at_most(each) for each in (_ONCE, _TWICE)]
            runs += [self._run(step, 1, each, each) for each in lengths[2:]]
            self._piece = _CHUNKS if _calls(runs[3]) > _calls(runs[2]) else None
            longest = _LONG if self._piece is None else _LONG_BY_CHUNKS
            lengths.append(self._at_most(longest))
            runs.append(self._run(step, 1, lengths[-1], lengths[-1]))
        self._note_working(runs[1], lengths[1])
        self._run("next", 1, lengths[0], lengths[0])
        self.kept = _summed(self._growing(dict(zip(lengths, runs, strict=True))))

    def _found(self, step: str, batch_size: int, length: int, source_len: int = 0) -> Fused:
        key = (step, batch_size, length, source_len)
        if key not in self._fused:
            self._fused[key] = self._longer(*key) or self._run(*key).fused
        return self._fused[key]

    def _longer(self, step: str, batch_size: int, length: int, source_len: int) -> Fused | None:
        """From shorter inputs, of a model that loops over its sequence and has no windows."""
        windows = any(each.window is not None for each in self.kept)
        if self._piece is None or windows or length <= 4 * self._piece:
            return None
        measured = {
            times * self._piece: self._run(step, batch_size, times * self._piece, source_len).fused
            for times in (1, 2, 3)
        }
        return at_length(length, measured)

    def _run(self, step: str, batch_size: int, length: int, source_len: int = 0) -> Run:
        steps, kernels = self.steps, self.count.kernels
        steps.on_failure = self.count.forget
        passes: dict[str, Callable[[], Passed]] = {
            "prompt": lambda: steps.prompt(batch_size, length),
            "primed": lambda: steps.primed(batch_size, length, source_len),
            "whole": lambda: steps.whole(batch_size, length),
        }
        before: list[Tensor] = []
        with standing_in(steps.module, StandIns(kernels.attention, kernels.mask, kernels.experts)):
            if step == "next":
                with self.count.kinds.skipping():
                    primed = steps.primed(batch_size, length - 1, source_len)
                before = _kept_tensors(primed)
                passes[step] = lambda: steps.next_token(batch_size, primed, length)
            new = length if steps.kind == "decoder" and step != "next" else None
            run = self.count.run(passes[step], _kept_tensors, before, new)
        self._unknown |= {f"{name}." for name in run.log.unknown}
        return run

    def _note_working(self, run: Run, length: int) -> None:
        self.working_per_token = run.fused.working_bytes / self.count.element_bytes / length

    def _growing(self, runs: dict[int, Run]) -> Iterator[KeptTensor]:
        """What is kept of one sequence, by how it grows with the tokens that were seen."""
        first, last = min(runs), max(runs)
        before = {part.place: part for part in kept_parts(runs[first].result.kept)}
        for part in kept_parts(runs[last].result.kept):
            most = part.tensor.numel()
            least = before[part.place].tensor.numel() if part.place in before else most
            times = self.count.times_of(runs[last], part.tensor)
            size = part.tensor.element_size()
            grown = _grown(least, most, first, last, part.window)
            yield msgspec.structs.replace(
                grown,
                per_token=grown.per_token * times,
                constant=grown.constant * times,
                own_bytes=None if size == self.count.element_bytes else size,
                of_source=grown.per_token > 0 and "cross_attention" in part.place,
            )

    def _at_most(self, length: int) -> int:
        limit = context_len_of(self.steps.text_config)
        return length if limit is None else min(length, limit)

    def architecture(self, found: FoundConfig, left_out: list[str]) -> Architecture:
        """The model's own sizes, and what was counted of its module."""
        config, module = self.steps.text_config, self.steps.module
        decodes = self.steps.kind == "encoder_decoder"
        model_type = Fields(found.config_json, found.name).text("model_type")
        heads = _number(config, "num_attention_heads")
        return Architecture(
            name=found.name,
            model_type=model_type,
            kind=self.steps.kind,
            counted_as=type(module).__name__,
            width=_number(config, "hidden_size") or 0,
            vocab_size=_number(config, "vocab_size"),
            context_len=context_len_of(config),
            published_dtype=found.published_dtype,
            stored_weights=stored_weights(found.config_json, found.name),
            not_counted=[
                *(left_out or self._read_as(model_type)),
                *sorted(self._unknown),
                *(
                    f"What a mask that {name} was given leaves: counted as causal, or as a window."
                    for name in sorted(self.count.kernels.guessed)
                ),
            ],
            counted=Counted(
                parameters_by_part=self.count.parameters_by_part(),
                idle_parameters=self.count.idle_parameters(),
                layers=_layers(self.steps.config, config, decodes),
                encoder_layers=_encoder_layers(self.steps.config) if decodes else None,
                heads=heads,
                kv_heads=_number(config, "num_key_value_heads") or heads,
                experts=self.count.experts(),
                kept=self.kept,
                working_per_token=self.working_per_token,
            ),
        )

    def _read_as(self, model_type: str) -> list[str]:
        """That the config was read as of another type, which the class that it names has."""
        read = type(self.steps.config).model_type
        if model_type == read:
            return []
        return [
            f"What {model_type!r} may do otherwise than {read!r}: config.json names "
            f"{type(self.steps.module).__name__}, and its own code is never run."
        ]


def _calls(run: Run) -> int:
    return len(run.log.calls)


def _kept_tensors(passed: Passed) -> list[Tensor]:
    return [part.tensor for part in kept_parts(passed.kept)]


def _grown(least: int, most: int, first: int, last: int, window: int | None) -> KeptTensor:
    """How a tensor of `least` numbers after `first` tokens came to `most` after `last`.

    A cache with a window keeps one token less: that which leaves the window with the next one.
    """
    if least == most and window is None:
        return KeptTensor(constant=float(most))
    if least == most and window is not None:  # it was full after `first` tokens
        return KeptTensor(per_token=most / max(window - 1, 1), window=window)
    per_token = least / first
    held = round(most / per_token)
    return KeptTensor(per_token=per_token, window=(window or held) if held < last else None)


def _summed(kept: Iterable[KeptTensor]) -> list[KeptTensor]:
    """Tensors that grow alike, as one."""
    sums: dict[Any, KeptTensor] = {}
    for each in kept:
        key = (each.window, each.own_bytes, each.of_source, each.per_token > 0)
        before = sums.get(key, KeptTensor())
        sums[key] = msgspec.structs.replace(
            each,
            per_token=before.per_token + each.per_token,
            constant=before.constant + each.constant,
        )
    return list(sums.values())


def context_len_of(config: Any) -> int | None:
    """Positions that a config of transformers states, under whichever name."""
    names = ("max_position_embeddings", "max_target_positions", "max_seq_len", "context_length")
    return next((found for name in names if (found := _number(config, name))), None)


def _layers(config: Any, text_config: Any, decodes_source: bool) -> int:
    """Layers of the text model; of an encoder and its decoder both."""
    if not decodes_source:
        return _number(text_config, "num_hidden_layers") or 0
    encoder = _encoder_layers(config)
    names = ("decoder_layers", "num_decoder_layers")
    decoder = next((found for name in names if (found := _number(config, name))), encoder)
    return (encoder or 0) + (decoder or 0)


def _encoder_layers(config: Any) -> int | None:
    names = ("encoder_layers", "num_layers", "num_hidden_layers")
    return next((found for name in names if (found := _number(config, name))), None)


def _number(config: Any, name: str) -> int | None:
    found = getattr(config, name, None)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None
