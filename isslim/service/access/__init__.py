"""Who may ask what: keys and their scopes, and the rules for a service without keys."""
