"""Messages: people read them on stderr, the run keeps them in `log.txt` with time, level and source."""

import logging
import sys
from pathlib import Path

from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler

from groundup.core.errors import OutputError

console = Console(stderr=True)


def get_logger(name: str) -> logging.Logger:
    """The logger of a module: `get_logger(__name__)`."""
    return logging.getLogger(name)


def log_to_console(level: int = logging.INFO) -> None:
    """Show the messages of groundup on stderr; called once by the command line."""
    logger = logging.getLogger("groundup")
    logger.setLevel(level)
    logger.handlers = [h for h in logger.handlers if not isinstance(h, RichHandler)]
    plain = NullHighlighter()  # the usual one searches every message for numbers and paths, long ones for minutes
    handler = RichHandler(console=console, show_path=False, show_level=False, show_time=False, highlighter=plain)
    handler.setLevel(level)
    logger.addHandler(handler)
    logger.propagate = False


def log_to_file(path: Path) -> logging.Handler:
    """Append messages to a run's `log.txt`; returns the handler so that the run can close it."""
    try:
        handler = _RunLogHandler(path, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {(error.strerror or str(error)).lower()}.") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("groundup")
    logger.setLevel(min(logger.level or logging.INFO, logging.INFO))
    logger.addHandler(handler)
    return handler


class _RunLogHandler(logging.FileHandler):
    """A log file whose full disk is an error in one sentence; the standard handler prints a traceback and goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            reason = (error.strerror or str(error)).lower()
            raise OutputError(f"Cannot write {self.baseFilename}: {reason}. Free space there.") from error
        super().handleError(record)
