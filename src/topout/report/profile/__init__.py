"""A profile: its document, its rows, its charts."""
