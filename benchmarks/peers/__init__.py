"""What a user would take instead: other tools on the same model, each in an environment of its own.

`serving`, `variants`, `plain` and `pruners` run in those environments too, so they import nothing
of `isslim`.
"""
