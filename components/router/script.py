"""The scripts of the routers: each one text, with what they share put in, so that the stack's state holds all of it."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
SHARED = HERE / "flag.mjs"
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./flag\.mjs";\n+', re.MULTILINE)


def bundled(name: str) -> str:
    """The text of a script of this folder, with the shared module in the place of its import."""
    text = (HERE / name).read_text(encoding="utf-8")
    shared = re.sub(r"^export ", "", SHARED.read_text(encoding="utf-8"), flags=re.MULTILINE)
    bundle, count = _IMPORT.subn(lambda _: f"{shared}\n", text)
    if count != 1:
        raise ValueError(f"{name} imports {SHARED.name} {count} times, not once")
    return bundle
