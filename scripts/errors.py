"""Errors that a person can act on. The command line prints them without a traceback and exits with their code.

Exit codes: 0 done; 1 the answer is no (mismatch, gate closed, rehearsal failed); 2 wrong use or settings;
3 something needed is missing or not reachable; 4 undone (the machine went back by itself); 130 interrupted.
"""

from __future__ import annotations


class ZdmError(Exception):
    """Something is wrong that the message names, with the way out."""

    exit_code = 3


class UsageError(ZdmError):
    """The command or its settings do not fit; nothing was changed."""

    exit_code = 2


class Undone(ZdmError):
    """The work could not be finished and was taken back; the state is as before."""

    exit_code = 4
