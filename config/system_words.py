"""Why the operating system refused, in the language that is spoken. Pure."""

from __future__ import annotations

from config.language import N_, _

# What it says most often, as it says it (POSIX strerror, glibc's words); anything else is passed on in its own words.
REASONS = (
    N_("No such file or directory"),
    N_("Permission denied"),
    N_("Operation not permitted"),
    N_("Is a directory"),
    N_("Not a directory"),
    N_("File exists"),
    N_("No space left on device"),
    N_("Read-only file system"),
    N_("Disk quota exceeded"),
    N_("Input/output error"),
    N_("Address already in use"),
    N_("Cannot assign requested address"),
    N_("Connection refused"),
    N_("Device or resource busy"),
    N_("Too many open files"),
)


def reason_of(error: OSError) -> str:
    """The reason that an error of the operating system gives."""
    return _(error.strerror) if error.strerror else str(error)
