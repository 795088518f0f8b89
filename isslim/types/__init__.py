"""Values that files, queue and HTTP share: recipes, manifests, reports, jobs.

Pydantic and NumPy only.
"""
