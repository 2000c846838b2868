"""The climb: stacks of rungs predicted, built, verified, timed against the best, and judged."""
