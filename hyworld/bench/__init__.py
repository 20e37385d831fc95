"""Times an unmodified walk and reports the result."""
