"""A project of one's own: `new` makes it from this checkout, `update` brings it a later engine.

`files` says which files go along, whose they are, and how a package gets another name. The files of
the engine are replaced by an update; all others are the project's and are never written to.
"""
