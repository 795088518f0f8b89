"""Damaged files and requests, a million of them: no crash, no hang, no growth, nothing left."""
