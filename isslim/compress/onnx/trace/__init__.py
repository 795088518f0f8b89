"""Which axes index each tensor of a graph."""
