"""The `latentkit` command."""
