"""The chart library as one script: made once for all pages, not anew for each."""

import hashlib
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import vl_convert

from topout.cache_folder import read_kept, writable_cache_folder
from topout.errors import OutputError
from topout.report.charts.theme import VEGA_LITE
from topout.whole_file import whole_file

_SNIPPET = "window.vegaEmbed = vegaEmbed;"


@lru_cache(maxsize=1)
def vega_bundle() -> str:
    """The script; it leaves `vegaEmbed` in the window and can stand in a `<script>`.

    To bundle it takes seconds, which is why it is kept in the cache folder by the versions of what
    it is made of. A kept one that is damaged or another user's is made anew.
    """
    made = f"{version('vl-convert-python')}-{VEGA_LITE}-{_SNIPPET}"
    name = f"vega-{hashlib.sha256(made.encode()).hexdigest()[:16]}.js"
    try:
        place = writable_cache_folder("page") / name
    except (OSError, OutputError):
        return _bundled()
    kept = _read(place)
    if kept is None:
        kept = _bundled()
        # A page needs the script, not the file; and another process may read that meanwhile.
        with suppress(OSError), whole_file(place, 0o600) as unfinished:
            unfinished.write_text(f"{_digest(kept)}\n{kept}", encoding="utf-8")
    return kept


def _bundled() -> str:
    bundle: str = vl_convert.javascript_bundle(_SNIPPET, vl_version=VEGA_LITE)
    return bundle.replace("</script", "<\\/script")


def _read(place: Path) -> str | None:
    """The script of a file, where its first line is the digest of the rest."""
    try:
        digest, _, script = read_kept(place).decode().partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return script if digest == _digest(script) else None


def _digest(script: str) -> str:
    return hashlib.sha256(script.encode()).hexdigest()
