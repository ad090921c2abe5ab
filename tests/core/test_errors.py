"""The error tree: each fault is one of ours, also the standard library's type, and reads as its sentence."""

import re

import pytest

from groundup.core import errors
from groundup.core.errors import ConfigError, GroundupError, InputError, MissingError, OutputError


@pytest.mark.parametrize(
    ("ours", "standard"),
    [
        (ConfigError, ValueError),
        (InputError, ValueError),
        (MissingError, FileNotFoundError),
        (OutputError, OSError),
    ],
)
def test_each_is_caught_as_ours_and_as_the_standard_type(ours: type[GroundupError], standard: type[Exception]) -> None:
    for wanted in (GroundupError, standard):
        with pytest.raises(wanted) as caught:
            raise ours("The port 80 is taken; choose another.")
        assert str(caught.value) == "The port 80 is taken; choose another."


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = dict(re.findall(r"(?:├──|└──) (\w+)\s+\((\w+)\)", errors.__doc__ or ""))
    assert drawn == {
        cls.__name__: next(base.__name__ for base in cls.__bases__ if base is not GroundupError)
        for cls in GroundupError.__subclasses__()
        if cls.__module__ == errors.__name__  # other modules may add their own, and are imported or not
    }
