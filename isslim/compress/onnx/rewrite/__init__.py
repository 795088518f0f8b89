"""Writes a graph at other sizes: its constants, and every number that encodes a size."""
