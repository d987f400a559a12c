"""Tests of the explanation floor."""
