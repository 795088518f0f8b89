"""Modules of a user's own class, exported and cut."""
