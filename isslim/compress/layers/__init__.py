"""Layers that networks of several kinds are made of, and the noise that they train under."""
