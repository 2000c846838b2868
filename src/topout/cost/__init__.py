"""What a model needs, and how long that should take: pure formulas, torch only in `graph`.

Read `ops` first: what one op needs. `transformer` and `passes` make the ops of a pass from an
`Architecture`, `training` those of a training step, `parallel` splits them over devices, `phases`
puts together a workload. Times come from what is known of a machine (`hardware_times`) or was
measured on it (`measured_times`), and `estimate` turns both into costs; `predict` does so for the
stacks of a climb. `memory`, `saved_tensors`, `activations` and `training_memory` count bytes that
stay. `roofs` are a machine's roofs, `examples` and `example_report` worked examples under them.
`graph` counts any PyTorch module while it runs, and `counted` is what is asked of a model that is
counted so.
"""
