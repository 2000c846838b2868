"""JSON of rocprofv3 → Trace: one object that holds all records of a process, names apart."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import polars as pl

from topout.errors import InputError
from topout.progress import Notify
from topout.trace.readers.event_names import meanings_of
from topout.trace.readers.file_text import FileText
from topout.trace.readers.memory_budget import EVENT_BYTES, Hold, unlimited
from topout.trace.table import HOST_DEVICE, Device, Trace, not_negative, with_all_columns

_REMEDY = "Record it with `rocprofv3 --kernel-trace --memory-copy-trace --hip-trace -f json -- …`."
_GPU = 2  # `type` of an agent
# What a byte of text takes while it is decoded: itself, and the records that are made of it.
_TEXT_FACTOR = 3


# What the columns hold; a larger number is none that rocprofv3 writes.
_Int = Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)]
_MOST_STREAM = (1 << 62) - 1  # queues may be addresses


class _Handle(msgspec.Struct, frozen=True):
    handle: int = 0


class _Correlation(msgspec.Struct, frozen=True):
    internal: _Int | None = None


class _Agent(msgspec.Struct, frozen=True):
    id: _Handle
    type: _Int = 0
    node_id: _Int = 0
    name: str = ""
    product_name: str = ""
    cu_count: _Int = 0


class _Symbol(msgspec.Struct, frozen=True):
    kernel_id: _Int | None = None
    formatted_kernel_name: str = ""
    kernel_name: str = ""


class _DispatchInfo(msgspec.Struct, frozen=True):
    kernel_id: _Int = -1
    agent_id: _Handle | _Int = 0
    queue_id: _Handle | _Int = 0


class _Record(msgspec.Struct, frozen=True):
    """Of any kind; what a kind does not have keeps its default."""

    start_timestamp: _Int
    end_timestamp: _Int
    kind: _Int = -1
    operation: _Int = -1
    thread_id: _Int | None = None
    correlation_id: _Correlation | _Int | None = None
    dispatch_info: _DispatchInfo | None = None
    src_agent_id: _Handle | _Int = 0
    dst_agent_id: _Handle | _Int = 0
    bytes: _Int | None = None


class _Kind(msgspec.Struct, frozen=True):
    kind: str = ""
    operations: list[str] = []


class _Text(msgspec.Struct, frozen=True):
    key: _Int
    value: str = ""


class _Strings(msgspec.Struct, frozen=True):
    buffer_records: list[_Kind] = []
    marker_api: list[_Text] = []


class _Metadata(msgspec.Struct, frozen=True):
    pid: _Int | None = None


class _Tool(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()
    agents: list[_Agent] = []
    strings: _Strings = _Strings()
    kernel_symbols: list[_Symbol] = []
    # Kinds of records by their names: a version knows more of them than are read here.
    buffer_records: dict[str, msgspec.Raw] = {}


class _File(msgspec.Struct, frozen=True):
    tools: list[_Tool] | _Tool = msgspec.field(name="rocprofiler-sdk-tool")


_RECORDS = msgspec.json.Decoder(list[_Record])
_CALLS = ("hip_api", "hip_runtime_api", "hsa_api", "rccl_api")
_MARKS = ("marker_api", "marker_core_range_api")
_READ = ("kernel_dispatch", "memory_copy", *_CALLS, *_MARKS)


class _Row(NamedTuple):
    start_ns: int
    duration_ns: int
    name: str
    kind: str
    device: int
    stream: int | None = None
    process: int | None = None
    thread: int | None = None
    correlation: int | None = None
    bytes: int | None = None
    from_device: int | None = None
    to_device: int | None = None


_COLUMNS: dict[str, type[pl.DataType]] = {
    name: pl.String if name in ("name", "kind") else pl.Int64 for name in _Row._fields
}


def read_rocprofv3_json(path: Path, notify: Notify | None = None, hold: Hold = unlimited) -> Trace:
    """The trace in a JSON file of rocprofv3, gzip or not; GPUs are numbered as the machine does.

    Raises InputError for a file that is cut off or not as rocprofv3 writes it, and what `hold`
    raises: the whole file is decoded at once.
    """
    text = bytearray()
    with FileText(path) as pieces:
        for piece in pieces:
            text += piece.data
            hold(len(text) * _TEXT_FACTOR, piece.fraction)
            if notify is not None:
                notify(f"reading {path.name}", piece.fraction)
    try:
        file = msgspec.json.decode(text, type=_File, strict=False)
        tools = file.tools if isinstance(file.tools, list) else [file.tools]
        rows = [row for tool in tools for row in _rows(tool)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = pieces.trouble or str(error)
        raise InputError(f"{path} is not as rocprofv3 writes JSON: {reason}.", _REMEDY) from None
    hold(len(text) + len(rows) * EVENT_BYTES, 1.0)
    doubts = _about_others(tools)
    if not any(row.kind == "work" for row in rows):
        doubts.append("no kernel, copy or fill is in it (was it recorded with --kernel-trace?)")
    table = _table(rows, doubts)
    return Trace(
        path=path,
        format="rocprofv3_json",
        events=table,
        devices=tuple(_devices(tools).values()),
        holds_copies=any(row.bytes is not None or row.to_device is not None for row in rows),
        doubts=tuple(doubts),
    )


def _about_others(tools: Sequence[_Tool]) -> list[str]:
    """The kinds of records that are not read."""
    others = {
        kind
        for tool in tools
        for kind, raw in tool.buffer_records.items()
        if kind not in _READ and bytes(raw).strip() not in (b"[]", b"null")
    }
    if not others:
        return []
    return [f"Of kinds that are not read, counted in no figure: {', '.join(sorted(others))[:200]}."]


def _handle(given: _Handle | int) -> int:
    return given.handle if isinstance(given, _Handle) else given


def _devices(tools: Sequence[_Tool]) -> dict[int, Device]:
    """The GPUs by the handles of their agents, numbered in the order of nodes."""
    agents = {
        agent.id.handle: agent for tool in tools for agent in tool.agents if agent.type == _GPU
    }
    ordered = sorted(agents.values(), key=lambda agent: (agent.node_id, agent.id.handle))
    return {
        agent.id.handle: Device(
            number,
            agent.product_name or agent.name,
            multiprocessors=agent.cu_count or None,
        )
        for number, agent in enumerate(ordered)
    }


def _rows(tool: _Tool) -> Iterator[_Row]:
    devices = {handle: device.number for handle, device in _devices([tool]).items()}
    symbols = {
        symbol.kernel_id: symbol.formatted_kernel_name or symbol.kernel_name
        for symbol in tool.kernel_symbols
    }
    marks = {text.key: text.value for text in tool.strings.marker_api}

    def operation(record: _Record) -> str:
        kinds = tool.strings.buffer_records
        operations = kinds[record.kind].operations if 0 <= record.kind < len(kinds) else []
        return operations[record.operation] if 0 <= record.operation < len(operations) else ""

    def row(record: _Record, name: str, kind: str, device: int, **more: int | None) -> _Row:
        correlation = record.correlation_id
        return _Row(
            record.start_timestamp,
            record.end_timestamp - record.start_timestamp,
            name,
            kind,
            device,
            process=tool.metadata.pid,
            thread=record.thread_id if device == HOST_DEVICE else None,
            correlation=correlation.internal
            if isinstance(correlation, _Correlation)
            else correlation,
            **more,
        )

    for kind, raw in tool.buffer_records.items():
        if kind not in _READ:
            continue
        for record in _RECORDS.decode(raw):
            if kind == "kernel_dispatch":
                info = record.dispatch_info or _DispatchInfo()
                name = symbols.get(info.kernel_id) or f"kernel {info.kernel_id}"
                agent = _handle(info.agent_id)
                # One that is not listed is a device of its own, without a name.
                device = devices.setdefault(agent, len(devices)) if agent else 0
                yield row(
                    record, name, "work", device, stream=_handle(info.queue_id) & _MOST_STREAM
                )
            elif kind == "memory_copy":
                ends = (_handle(record.src_agent_id), _handle(record.dst_agent_id))
                source, target = (devices.get(end, HOST_DEVICE) for end in ends)
                yield row(record, _way(source, target), "work",
                          source if target == HOST_DEVICE else target,
                          bytes=record.bytes, from_device=source, to_device=target)  # fmt: skip
            elif kind in _MARKS:
                own = record.correlation_id
                key = own.internal if isinstance(own, _Correlation) else own
                yield row(
                    record, marks.get(key or 0) or operation(record), "annotation", HOST_DEVICE
                )
            else:
                yield row(record, operation(record), "runtime", HOST_DEVICE)


def _way(source: int, target: int) -> str:
    """The name of a copy between two places, which rocprofv3 tells by the agents alone."""
    ends = ["H" if end == HOST_DEVICE else "D" for end in (source, target)]
    between = HOST_DEVICE not in (source, target) and source != target
    return "Memcpy PtoP" if between else f"Memcpy {ends[0]}to{ends[1]}"


def _table(rows: Sequence[_Row], doubts: list[str]) -> pl.DataFrame:
    frame = not_negative(pl.DataFrame(rows, schema=_COLUMNS, orient="row"), doubts)
    frame = frame.with_columns(pl.col("name").cast(pl.Categorical))
    joined = frame.join(meanings_of(frame["name"]), on="name", how="left", maintain_order="left")
    is_work = pl.col("kind") == "work"
    between = pl.col("copy_kind") == "PtoP"
    table = joined.with_columns(
        kind=pl.when(is_work).then("work").otherwise("kind"),
        copy_kind=pl.when(is_work).then("copy_kind"),
        collective=pl.when(is_work).then("collective"),
        from_device=pl.when(between).then("from_device"),
        to_device=pl.when(between).then("to_device"),
    )
    return with_all_columns(table.drop("work"))
