"""Published models with recurrent layers, one module each, and what they are judged by."""
