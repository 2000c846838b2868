"""From a `config.json` to an `Architecture`: one file per family, torch-free."""
