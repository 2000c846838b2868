"""A model that generates, and what a run of it is worth.

Read `request` (what is asked), `steps` and `session` (how tokens come), `build` (how a session is
made), `session_worker` and `session_process` (where it lives), `subject` (from a request to where
measuring begins); then `verify` and `placement` (is it right, how far is it from the ceilings).
"""
