"""What this machine is, and what it was measured to reach.

`describe` reads it from `processor` and `topology`. `ceilings` is the measurement, by
`native_ceilings` or `torch_ceilings` with so much `effort`. `catalog` holds machines as data,
`examples` times the worked examples of the roofline.
"""
