"""Tests of `isslim.compress`."""
