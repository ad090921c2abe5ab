"""What a user can cause, as exceptions; each is also the standard library's type for the same fault.

    GroundupError                     exit code 1: one sentence, no traceback
    ├── ConfigError  (ValueError)     a config value or combination that cannot work
    ├── InputError   (ValueError)     a file or text whose content cannot be used
    ├── MissingError (FileNotFoundError)  a path, run, recipe or package that is not there
    └── OutputError  (OSError)        a place that cannot be written, a port that is taken

`training.loop` adds `Diverged` (ArithmeticError), for a loss that is no number.
A message is a full sentence that names the value, the place and the remedy. Faults of our own are `assert`s and keep
their traceback.
"""


class GroundupError(Exception):
    """A fault that the user can mend; the command line prints it as one sentence."""

    def __str__(self) -> str:  # OSError would print "[Errno ...]" around the sentence
        return str(self.args[0]) if self.args else ""


class ConfigError(GroundupError, ValueError):
    """A config value, or a combination of values, that cannot work."""


class InputError(GroundupError, ValueError):
    """A file or text whose content cannot be used."""


class MissingError(GroundupError, FileNotFoundError):
    """A path, run, recipe or optional package that is not there."""


class OutputError(GroundupError, OSError):
    """A place that cannot be written, or a port that is taken."""
