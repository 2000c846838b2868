"""What this machine is, and what it was measured to reach.

`describe` reads it from `processor` and `topology`, all through `recorded_files`. `ceilings` is the
measurement: `native_ceilings`, `torch_ceilings` or `cuda_ceilings` for so much `effort` over
`working_sets`, with the doubts of `disturbance`. `catalog` holds machines as data, `examples` times
the worked examples of the roofline.
"""
