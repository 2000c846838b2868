"""Names of events that match a pattern, looked for once per name and not once per event."""

import polars as pl


def matching_names(events: pl.DataFrame, pattern: str) -> list[str]:
    """Names that occur in `events` and match a regular expression, searched anywhere in them."""
    names = events["name"].unique().cast(pl.String).drop_nulls()
    return names.filter(names.str.contains(pattern)).to_list()
