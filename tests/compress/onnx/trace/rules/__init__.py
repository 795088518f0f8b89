"""Tests of the rules of axis inference, a file for each of theirs."""
