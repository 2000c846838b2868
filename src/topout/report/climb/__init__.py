"""A climb: its document, the row and card of a rung, its charts."""
