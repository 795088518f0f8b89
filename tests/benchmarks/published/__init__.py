"""Tests of `benchmarks.published`."""
