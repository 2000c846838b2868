"""What a reader of Kineto traces met and did not like, in words."""

from topout.trace.readers.kineto_columns import Scan
from topout.trace.readers.kineto_metadata import Metadata
from topout.trace.readers.kineto_pieces import Pieces


def doubts_of(scan: Scan, pieces: Pieces, metadata: Metadata) -> list[str]:
    """What is missing or was left out, each as a sentence with how often."""
    return [*_about_the_end(scan, pieces), *_about_events(scan), *_about_the_rest(pieces, metadata)]


def _about_the_end(scan: Scan, pieces: Pieces) -> list[str]:
    read = f"the {scan.counts['entries']} entries before that were read"
    if pieces.trouble:
        return [f"The file is incomplete: {pieces.trouble}; {read}."]
    if scan.stage == "broken":
        return [f"The JSON is not readable behind byte {scan.read_bytes}; {read}."]
    if scan.stage != "done":
        return [f"The file is cut off in the middle of its JSON; {read}."]
    return []


def _about_events(scan: Scan) -> list[str]:
    reasons = {
        "unreadable": "entries are not readable JSON objects: left out.",
        "too_long": "entries are longer than 16 MiB: left out.",
        "unphased": 'entries have no phase ("ph"): left out.',
        "untimed": "events have no time: left out.",
        "paired": "begins and ends of events were written apart: left out.",
    }
    counts = {str(name): number for name, number in scan.counts.items()}
    doubts = [f"{counts[name]} {why}" for name, why in reasons.items() if counts[name]]
    if not scan.rows:
        doubts.append("The trace holds no events.")
    return doubts


def _about_the_rest(pieces: Pieces, metadata: Metadata) -> list[str]:
    doubts = []
    if pieces.null_bytes:
        doubts.append(f"{pieces.null_bytes} NUL bytes in the file: read as spaces.")
    if metadata.unreadable:
        doubts.append(f"Not readable and left out: {', '.join(metadata.unreadable)}.")
    return doubts
