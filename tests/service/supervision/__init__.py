"""Tests of several service processes."""
