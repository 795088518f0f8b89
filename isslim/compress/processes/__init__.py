"""Processes beside the worker: commands of the operator, limits, a parent's end."""
