"""Every setting that a process reads from an `ISS_*` variable, described once.

They are in one package because service and worker see each other's variables: on one machine both
have the same environment, and each refuses a variable that neither of them knows. The page of all
settings, `docs/configuration.md`, is printed by `python -m isslim.settings`.
"""
