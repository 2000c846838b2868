"""What differs from one run to the next, replaced by fixed marks; floats at twelve digits."""

import json
import re
from typing import Any

_MARKS = {"topout_version": "VERSION", "created_at": "TIME"}
_DIGITS = 12  # a double has 15 to 17; the last ones may differ between processors


def steady_json(text: str) -> str:
    """A record's JSON with marks in place of version and date, without the digest of them."""
    return json.dumps(_steady(json.loads(text)), indent=1, ensure_ascii=False) + "\n"


def steady_text(text: str, record_json: str) -> str:
    """A table's or a page's text with marks in place of the record's version and date."""
    record = json.loads(record_json) if record_json else {}
    if created_at := record.get("created_at"):
        text = text.replace(created_at, "TIME")
    if version := record.get("topout_version"):
        text = re.sub(rf"\btopout {re.escape(version)}(?![\w.])", "topout VERSION", text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def steady_csv(text: str) -> str:
    """CSV with its floats at twelve significant digits."""
    return re.sub(r"\b\d+\.\d+(e[+-]?\d+)?\b", lambda found: f"{float(found[0]):.{_DIGITS}g}", text)


def rounded(value: Any) -> Any:
    """JSON with its floats at twelve significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return value


def _steady(record: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _MARKS.get(key, value) for key, value in rounded(record).items() if key != "digest"
    }
