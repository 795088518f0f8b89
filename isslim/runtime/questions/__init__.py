"""Serving question answering: passages to tokens, question graphs, the best answer."""
