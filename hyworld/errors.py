"""The one exception that means "the user's input is wrong".

Raised where the input enters, with one sentence that says what was wrong, what was
expected and what to do. The command line turns it into exit code 2, a ComfyUI node
into its error message; everything else that is raised is a fault of ours.
"""


class InputError(ValueError):
    """Input the user can correct: a path, a picture, a checkpoint, a number."""
