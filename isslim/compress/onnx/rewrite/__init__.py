"""A graph at other sizes: named arrays into constants, and every number that hides a size."""
