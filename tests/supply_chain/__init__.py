"""Tests of what isslim is made of."""
