"""What is run and counted: models from a folder, a file, a known name or the hub.

Read `source` first: from what a user names to config, weights and tokenizer, through `known`
(shapes in `known_shapes`) and `checkpoint`. `config` and `encoder_config` are the
shapes that run, read by `fields` and `rope`; `decoder` (with `rotary`) and `encoder` the plain
models that define correct output; `load` fills them, `trainable` those of `trainable_models`.
`text` gives them tokens. `architecture` is the shape of any model that is counted, read in
`architectures`; `structure` shows how a module is built. Only `decoder`, `rotary`, `encoder`,
`trainable_models` and `structure` import torch when they are imported.
"""
