"""A kind of model as a plug-in brings it: a two-layer network that gives rows of numbers a class.

It is what `docs/adding-a-kind.md` quotes. Nothing of the product knows of it but by `ISS_KINDS`.
"""
