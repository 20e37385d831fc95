"""Training of the tiny world on rendered scenes; see README.md."""
