"""Every setting that a process reads from an `ISS_*` variable, described once.

They lie in one room since service and worker see each other's variables: on one machine both have
the same environment, and each refuses a variable that neither knows. `python -m isslim.settings`
prints the page of them all, `docs/configuration.md`.
"""
