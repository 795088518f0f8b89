"""Servers that a cluster shares, on loopback and in folders of their own, and a way to cut them."""
