"""The command line: `hyworld generate`, `convert`, `trajectory` and `verify`."""
