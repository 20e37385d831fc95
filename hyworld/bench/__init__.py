"""Stopwatches around the real engine, and the report of what they read."""
