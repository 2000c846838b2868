"""A run: its document and charts."""
