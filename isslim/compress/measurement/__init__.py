"""Measures what is published of a candidate: graphs, quality, latency, and the verdict."""
