"""The command line: `hyworld generate`, `convert`, `trajectory`, `verify` and `bench`."""
