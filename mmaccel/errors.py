"""Errors that a user can repair, in one sentence with the remedy."""


class ConfigError(ValueError):
    """A setting, file or folder with which a run cannot start."""


class TrainingStopped(RuntimeError):
    """A condition under which going on would waste the run."""
