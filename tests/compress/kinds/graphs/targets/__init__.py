"""Tests of metrics on targets."""
