"""Intervals, samples of long texts, and what two texts share."""
