"""Learners: what training adds so that a network finds out which components it can lose (see `isslim.compress.training.hooks`)."""
