"""The published shapes of known models, as fields of their `config.json`: a file per kind."""
