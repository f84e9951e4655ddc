"""From the words of a command to one run, its messages and its exit status.

`main` is the entrance, `options` and `arguments` turn short names into full ones, `command_line`
parses, `config_layers` adds what the checkpoint and the data say, `objects` builds, and `run` is
the life of a run. Only `train.py` imports this room. A new option of every command is added in
`command_line`, and told in `overview`; options of a model or data set are its constructor's.
"""
