"""From a `config.json` to an `Architecture`, torch-free: `read` chooses the file of the family."""
