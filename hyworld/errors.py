"""The one exception for wrong user input."""


class InputError(ValueError):
    """Input the user can correct. The message says what was wrong, what was expected and what to do; exit code 2."""
