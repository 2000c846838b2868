"""One optimization a file, in the order of `registry`; `rung` says what a rung is."""
