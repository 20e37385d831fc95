"""Yardsticks for measurements: the original's method over the same weights."""
