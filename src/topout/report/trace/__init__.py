"""Traces, their difference, and runs over more devices."""
