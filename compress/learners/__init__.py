"""Learners: what training adds so that a network finds out which components it can lose (see `compress.training.hooks`)."""
