"""What a model keeps in memory, and what a KV cache saves, as tables."""

from collections.abc import Callable, Sequence

from topout import units
from topout.records import CacheSaving, CostReport
from topout.report.cost.words import flops, intensity, placed, traffic
from topout.report.document import Column, Row, Table

TRAINING_COLUMNS = [
    "recompute",
    "ZeRO",
    "weights",
    "gradients",
    "optimizer",
    "activations",
    "errors",
    "all",
    "fits on",
]
RECOMPUTED = {"none": "nothing", "selective": "attention", "full": "all"}


def saving_table(report: CostReport) -> Table:
    """One decoded token with and without a KV cache; times on each machine that has them."""
    first = _first_saving(report)
    if first is None:
        return Table([], [])
    rows = [
        _against("FLOPs", flops, first.cached_flops, first.uncached_flops),
        _against("bytes moved", traffic, first.cached_bytes, first.uncached_bytes),
        [
            "FLOP/byte",
            intensity(_ratio(first.cached_flops, first.cached_bytes)),
            intensity(_ratio(first.uncached_flops, first.uncached_bytes)),
            "",
        ],
    ]
    for machine in placed(report):
        saving = machine.cache_saving
        if saving is not None and saving.cached_time_s is not None:
            times = saving.cached_time_s, saving.uncached_time_s
            rows.append(_against(f"time on {machine.name}", units.seconds, *times))
    return _table(["a token", "with cache", "without", "without ÷ with"], rows)


def saving_sentence(report: CostReport) -> str:
    """What the keys and values of one new token cost, over all layers."""
    saving = _first_saving(report)
    if saving is None or not saving.kv_projection_flops:
        return ""
    cost, moved = saving.kv_projection_flops, saving.kv_projection_bytes
    return (
        f"At context {saving.context_len}, a new token's K and V, all layers together: "
        f"{flops(cost)}, {traffic(moved)}, intensity {intensity(_ratio(cost, moved))} FLOP/byte. "
        "Without a cache they are computed again for every earlier token."
    )


def kv_sentence(report: CostReport) -> str:
    """What the KV cache takes per token, and as asked."""
    memory, work = report.memory, report.workload
    if memory.kv_bytes_per_token is None:
        return ""
    text = f"{units.memory(memory.kv_bytes_per_token)} per token of a sequence"
    if memory.kv_bytes_per_token == 0:
        text = "States, which do not grow with the context"
    if memory.kv_cache_bytes is not None:
        text += (
            f"; as asked (context {work.context_len}, batch {work.batch_size}) "
            f"{units.memory(memory.kv_cache_bytes)}"
        )
    return f"{text}; the weights take {units.memory(memory.weight_bytes)}."


def kv_table(report: CostReport) -> Table:
    """KV cache by context (rows) and batch (columns)."""
    table = report.memory.kv_table
    batches = sorted(table, key=_number)
    contexts = sorted({context for row in table.values() for context in row}, key=_number)
    if not contexts:
        return Table([], [])
    return _table(
        ["context", *(f"batch {batch}" for batch in batches)],
        [
            [context, *(units.memory(table[batch].get(context)) for batch in batches)]
            for context in contexts
        ],
    )


def training_table(report: CostReport) -> Table:
    """Bytes of one device in a training step, by recomputation and ZeRO stage, and who has them."""
    choices = report.memory.training
    if not choices:
        return Table([], [])
    memories = _memories(report).values()
    rows = [
        [
            RECOMPUTED[choice.recompute],
            str(choice.zero_stage),
            units.memory(choice.weights_bytes),
            units.memory(choice.gradients_bytes),
            units.memory(choice.optimizer_bytes),
            units.memory(choice.activations_bytes),
            units.memory(choice.errors_bytes),
            units.memory(choice.total_bytes),
            _share(sum(choice.total_bytes <= size for size in memories), len(memories)),
        ]
        for choice in choices
    ]
    return _table(TRAINING_COLUMNS, rows)


def training_sentence(report: CostReport) -> str:
    """The memories that "fits on" compares with."""
    if not report.memory.training or not _memories(report):
        return ""
    sizes = [f"{name} {units.memory(size)}" for name, size in _memories(report).items()]
    return f"Fits on: the machines whose memory holds the sum ({', '.join(sizes)})."


def _table(titles: Sequence[str], rows: list[list[str]]) -> Table:
    """The first column names the rows; on a narrow terminal the others are cut into tables."""
    columns = [Column(titles[0], text=True), *map(Column, titles[1:])]
    return Table(columns, [Row(row) for row in rows], side_by_side=True)


def _first_saving(report: CostReport) -> CacheSaving | None:
    return next((m.cache_saving for m in report.machines if m.cache_saving is not None), None)


def _against(
    label: str,
    show: Callable[[float | None], str],
    cached: float | None,
    uncached: float | None,
) -> list[str]:
    return [label, show(cached), show(uncached), units.times(_ratio(uncached, cached))]


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _number(text: str) -> tuple[int, str]:
    return (int(text) if text.isdecimal() else 0, text)


def _memories(report: CostReport) -> dict[str, int]:
    return {m.name: m.hardware.memory_bytes for m in report.machines if m.hardware is not None}


def _share(number: int, of: int) -> str:
    if of == 0:
        return units.ABSENT
    if of == 1:
        return "yes" if number else "no"
    return {0: "none", of: "all"}.get(number, f"{number} of {of}")
