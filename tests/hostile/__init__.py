"""Uploads that somebody made to do harm, or that went badly wrong, by kind."""
