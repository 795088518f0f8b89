"""Kills processes and databases at random while jobs run, and counts what is lost by it."""
