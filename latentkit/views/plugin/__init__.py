"""The tab "Latent" of TensorBoard, which loads this package by itself: it must import no torch."""

PLUGIN_NAME = "latentkit"
"""By which event files mark what the tab shows."""
