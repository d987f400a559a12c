"""Mutated configs, mutated command lines and damaged files: what `latentkit` makes of them."""
