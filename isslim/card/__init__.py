"""The words of a bundle's card: one set for the card, the terminal and the page."""
