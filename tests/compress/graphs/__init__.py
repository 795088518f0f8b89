"""Tests of compress.graphs."""
