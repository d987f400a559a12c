"""Training from a config: what is refused, where it lands, what it goes on from, what it says."""
