"""Ranks as local processes, started by torchrun: none outlives the others or the program.

Read `local` (starts ranks, ends them, tells which failed first), then `agent` (torchrun's process,
and how a rank notes that it failed).
"""
