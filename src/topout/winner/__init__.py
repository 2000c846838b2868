"""The stack that won, in the user's own code: chosen, loaded, generating, saved.

Read `request` (what can be asked), `choice` (from a climb's folder or a model to a stack that
applies), `loaded` (the model that generates), `stream` (a text as it comes) with `pieces` (text of
tokens); then `saved` and `in_memory`, the folders and models that stacks are loaded from besides.
"""
