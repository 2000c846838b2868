"""The climb: rungs predicted, built, verified, timed against the best so far, and judged.

Read `stack`, then `walk` from top to bottom; `duel` times, `verdict` judges, `state` keeps the
record; `predictions`, `acceptance` and `rates` foretell, from what `calibrate` and `kernel_rates`
measured.
"""
