"""How a model is built: its layers, its module tree and its data flow, without its weights.

`build` makes the module and its inputs, `recorder` runs it once into a `recording`; from that
`layers` and `graph` are read.
"""
