"""How good a model, or an explanation, is: evaluate, bench."""
