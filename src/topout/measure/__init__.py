"""How long something took, and how far to trust that; knows no models.

`runner` times rivals in turns until the figures are sure, with `stats` for their spread and
doubts. `worker` runs what may crash in a process of its own. `process` tells the processors' time,
peak memory and what ends with what, `counters` hardware events.
"""
