"""Training over ranks: the work of one step, timed by its parts, alone and data-parallel.

Read `request` (the options), `rows` and `data` (a user's file to samples), `plan` (what the ranks
are told and tell), `run_case` (starts them), `rank` with `distributed` and `step` (what each does),
`results` (what they told, put together) and `findings`.
"""
