"""The text of a bundle's card, shared by the card, the terminal and the page."""
