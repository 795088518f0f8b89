"""Layers that networks of several kinds share, and the noise that they train with."""
