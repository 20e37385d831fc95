"""The tiny world: a small WorldPlay trained on rendered rooms and courtyards; see README.md."""
