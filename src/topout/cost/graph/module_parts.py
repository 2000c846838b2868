"""Which part of a network a module belongs to: attention, MLP, router, norms, by names and classes.

Read from the outside inwards: what stands inside of an attention belongs to it, but for norms and
routers, which are told by themselves.
"""

import re
from collections.abc import Iterator

from torch import nn

_NORM = re.compile(r"norm(?!al)|^ln_|_ln$|^ln\d|^ln$", re.IGNORECASE)
_ROUTER = re.compile(r"router|(^|_)gate$|topk|top_k|gating", re.IGNORECASE)
_ROUTER_CLASS = re.compile(r"router|gate$|topk|gating", re.IGNORECASE)
_CROSS = re.compile(r"cross_?attn|cross_?attention|encoder_attn|encdecattention", re.IGNORECASE)
_SCAN = re.compile(
    r"mamba|delta_?(net|rule|attention)|linear_?attn|linear_?attention|lightning|rwkv|recurrent"
    r"|rglru|short_?conv|mlstm|slstm|retention|\bkda\b|mixer|(^|_)ssm(_|$)",
    re.IGNORECASE,
)
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_MLP = re.compile(
    r"mlp|ffn|feed_?forward|densereludense|densegated|^fc\d|^lin\d|dense|intermediate|output|expert"
    r"|moe|^ff$|^wi|^wo$",
    re.IGNORECASE,
)
_VISION = re.compile(
    r"vision|visual|image|audio|video|speech|tower|projector|multi_modal|connector", re.IGNORECASE
)
_POSITIONS = re.compile(r"rotary|rope|position|pos_emb|wpe|relative", re.IGNORECASE)
_HEAD = re.compile(
    r"head|classifier|score|pooler|qa_outputs|predictions|^cls$|discriminator|decoder_proj"
    r"|_projection$",
    re.IGNORECASE,
)


class ModuleParts:
    """The part and the short name of each module of a network, by its path."""

    def __init__(self, module: nn.Module, list_paths: list[str], *, sees: bool) -> None:
        """`sees`: the network is one that sees or hears, which is then no part beside text."""
        self._classes = {name: type(each).__name__ for name, each in module.named_modules()}
        self._lists = list_paths
        self._sees = sees
        self._prefix = str(getattr(module, "base_model_prefix", ""))
        output = _output_embedding(module)
        self._heads = {name for name, each in module.named_modules() if each is output}
        self._parts: dict[str, str] = {}

    def part_of(self, path: str) -> str:
        """The part of what runs in the module at `path`, or of its parameters."""
        if path not in self._parts:
            self._parts[path] = self._part_of(path)
        return self._parts[path]

    def scope_of(self, path: str) -> str:
        """The outermost module around `path` that is of the same part, within one layer."""
        part, scope = self.part_of(path), path
        for outer in self._around(path):
            if self.part_of(outer) != part or outer in self._lists:
                break
            scope = outer
        return scope

    def name_of(self, path: str) -> str:
        """A path without the numbers of layers, their lists, and what all of it is in."""
        words = path.split(".")
        kept = [
            word
            for number, word in enumerate(words)
            if not word.isdigit() and not (number + 1 < len(words) and words[number + 1].isdigit())
        ]
        if kept and kept[0] == self._prefix:
            kept = kept[1:]
        return ".".join(kept)

    def _part_of(self, path: str) -> str:
        words = path.split(".")
        kind, last = self._classes.get(path, ""), words[-1]
        if not self._sees and any(_VISION.search(word) for word in words[:3]):
            return "vision"
        if path in self._heads:
            return "head"
        inside = self._inside(path)
        if _NORM.search(kind) or _NORM.search(last):
            return "norms"
        if inside is None:
            return self._outside(path, kind, last)
        return self._in_layer(path, inside)

    def _outside(self, path: str, kind: str, last: str) -> str:
        """Of a module that is in no layer."""
        if _POSITIONS.search(path):
            return "positions"
        if "Embedding" in kind or "embed" in path.lower() or last in ("wte", "word_embeddings"):
            return "embedding"
        if "Conv" in kind:
            return "convolution"
        words = path.split(".")
        if any(_HEAD.search(word) for word in words):
            return "head"
        return "other"

    def _in_layer(self, path: str, inside: list[str]) -> str:
        """By the words of a path behind the layer's number, and the classes that they name."""
        around = [path, *self._around(path)]
        named = list(zip(reversed(inside), around, strict=False))  # from the inside
        for word, at in named:
            classes = self._classes.get(at, "")
            if _ROUTER_CLASS.search(classes) or (_ROUTER.search(word) and self._is_in_mixture(at)):
                return "router"
        for word, at in reversed(named):
            told = f"{word} {self._classes.get(at, '')}"
            if _CROSS.search(told):
                return "cross_attention"
            if _SCAN.search(told):
                return "scan"
            if _POSITIONS.search(word) and "embed" in word.lower():
                return "positions"
            if _ATTENTION.search(told):
                return "attention"
            if _MLP.search(told):
                return "mlp"
        return "residuals" if not inside else "other"

    def _is_in_mixture(self, path: str) -> bool:
        """Whether experts stand beside the module at `path`."""
        outer = path.rpartition(".")[0]
        return any(
            name.startswith(f"{outer}.") and "expert" in name[len(outer) :].lower()
            for name in self._classes
        )

    def _inside(self, path: str) -> list[str] | None:
        """The words behind the number of the outermost list's layer; None outside of all."""
        for name in self._lists:
            if path.startswith(f"{name}."):
                return path[len(name) + 1 :].split(".")[1:]
        return None

    def _around(self, path: str) -> Iterator[str]:
        """The modules that a path leads through, from the inside."""
        while "." in path:
            path = path.rpartition(".")[0]
            yield path


def _output_embedding(module: nn.Module) -> nn.Module | None:
    """The layer that makes logits, where a model of transformers names one."""
    get = getattr(module, "get_output_embeddings", None)
    if get is None:
        return None
    try:
        found = get()
    except (NotImplementedError, AttributeError):
        return None
    return found if isinstance(found, nn.Module) else None
