"""Tests of compress.learners."""
