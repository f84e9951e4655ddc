"""What every other room stands on.

`errors` is what a user reads instead of a traceback, `targets` says what a task's targets are,
`interface` what the engine asks of a model and its data, `allowed_imports` what may be imported by
name, `name_matching` finds a class by half its name, `terminal` tells how wide it is.
"""
