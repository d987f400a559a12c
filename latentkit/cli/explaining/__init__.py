"""Directions and what each affects: directions, explain."""
