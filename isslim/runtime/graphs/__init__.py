"""Serving graphs of any inputs and outputs: recorded inputs, shapes, a process for each graph."""
