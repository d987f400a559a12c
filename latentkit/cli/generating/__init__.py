"""Running a model forwards: sample, reconstruct, encode."""
