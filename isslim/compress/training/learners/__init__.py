"""Learners: terms of a training by which a network finds the components that it can lose."""
