"""From a budget to candidates for publication."""
