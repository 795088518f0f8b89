"""Compresses recurrent networks: ingest, find structure, prune and repair, export, verify, measure."""
