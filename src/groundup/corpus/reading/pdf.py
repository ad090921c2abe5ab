"""The text of a PDF file, page after page, as the optional package pypdf reads it.

PDF is a format with which a small file can keep a parser busy for hours, so a file is read in a process of its own that
has a time and a memory limit. `execution.child` is that process.
"""

import importlib.util
from pathlib import Path

from groundup.core.errors import InputError, MissingError
from groundup.corpus.execution.child import Child, ChildFault

SECONDS = 60.0
MOST_BYTES = 64 << 20
MEMORY_BYTES = 2 << 30


def read_pdf(path: Path, seconds: float = SECONDS, most_bytes: int = MOST_BYTES) -> str:
    """The text; a file that is too long, damaged or not done in time is an `InputError` that says so."""
    if importlib.util.find_spec("pypdf") is None:
        raise MissingError(f"{path} needs the package pypdf; install it with: pip install 'groundup[pdf]'.")
    if (size := path.stat().st_size) > most_bytes:
        raise InputError(f"{path} has {size:,} bytes; a PDF of more than {most_bytes:,} is not read.")
    child = Child(MEMORY_BYTES)
    try:
        child.submit(f"{__name__}:pdf_text", path)
        return child.result(seconds)
    except ChildFault as fault:
        raise InputError(f"{path} gave no text ({fault.reason})") from None
    finally:
        child.kill()


def pdf_text(path: Path) -> str:
    """The text of all pages, an empty line between two."""
    import pypdf

    reader = pypdf.PdfReader(path)
    return "\n\n".join(page.extract_text() for page in reader.pages)
