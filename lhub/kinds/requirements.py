"""Requirements: the lines of a `requirements.txt` by the package they are about.

>>> packages("Torch>=2.0  # the big one\\n\\njina[standard]==3.27\\n-r more.txt\\n")
{'torch': '>=2.0', 'jina': '[standard]==3.27', '-r more.txt': ''}
"""

from __future__ import annotations

import re


def packages(text: str) -> dict[str, str]:
    """What is asked of each package, by its name as PyPI compares it; a line without a name stands for itself.

    Names are compared as PEP 503 has it; a package that stands twice has both lines.
    """
    found: dict[str, list[str]] = {}
    text = re.sub(r"(?m)^[ \t]*#.*$", "", text)  # as pip has it, a comment that ends in a backslash does not go on
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        stripped = re.sub(r"(^|\s)#.*", "", line).strip()
        if not stripped:
            continue
        match = re.match(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?=$|[\[(<>=!~;@, ])(.*)", stripped)
        name, rest = (re.sub(r"[-_.]+", "-", match[1]).lower(), match[2].strip()) if match else (stripped, "")
        found.setdefault(name, []).append(rest)
    return {name: ", ".join(rests) for name, rests in found.items()}
