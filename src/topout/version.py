"""The version: of the distribution, the command line and every record."""

__version__ = "0.1.0"
