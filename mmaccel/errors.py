"""Errors that a user can repair, in one sentence with the remedy."""


class ConfigError(ValueError):
    """A setting, file or folder with which a run cannot start."""


class TrainingStopped(RuntimeError):
    """A condition under which going on would waste the run."""


class Interrupted(TrainingStopped):
    """A signal that ended a run in good order.

    Args:
        message (str): What was saved, and how to go on.
        number (int): The signal.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number
