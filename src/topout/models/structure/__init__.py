"""How a model is built: its layers, its module tree and its data flow, without its weights."""
