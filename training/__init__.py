"""Training programs; nothing in `hyworld` imports them."""
