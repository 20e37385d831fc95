"""Programs that train what the project ships; nothing in `hyworld` imports them."""
