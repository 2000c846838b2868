"""Training over ranks: the work of one step, timed by its parts, alone and data-parallel.

Read `plan` (the options, and what the ranks are told and tell), `rows` and `data` (a user's file to
samples), `run_case` (starts the ranks), `rank` with `distributed` and `step` (what each does),
`results` (what they told, put together) and `findings`.
"""
