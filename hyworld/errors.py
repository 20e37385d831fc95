"""The one exception for wrong user input; anything else that is raised is a bug."""


class InputError(ValueError):
    """Input the user can correct. The message says what was wrong, what was expected and what to do; exit code 2."""
