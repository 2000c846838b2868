"""How long something took, and how far to trust that; knows no models.

`runner` times rivals in turns until the figures are sure, with `stats` for their spread and
`checks` for doubts. `worker` runs what may crash in a process of its own, which ends as `lifetime`
says. `usage` tells the processors' time and peak memory, `counters` hardware events, through the
kernel's interface in `perf_system`.
"""
