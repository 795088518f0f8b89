"""Reads uploaded files safely, whatever kind of model they turn out to hold."""
