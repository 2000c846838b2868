"""The report of `topout generate`."""
