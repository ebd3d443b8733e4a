"""The error of commands that fail for a reason of their own."""


class CommandError(Exception):
    """The command cannot do what it was asked; the text says why, and what to do."""
