"""What this machine is, and what it was measured to reach.

`describe` reads it from `processor` and `topology`. `ceilings` is the measurement, by
`native_ceilings` or `torch_ceilings` with so much `effort`; `ceiling_checks` and `figures` say what
ceilings cannot be, `disturbance` what went on meanwhile, `kept` which measurement stands. `catalog`
holds machines as data, `examples` times the worked examples of the roofline.
"""
