"""What tests/test_served.py lets an interpreter do that has jina: serve Executors one after the other, and ask them.

    python serving.py flow jinaai://alice/Greeter:v1 -- world    one Flow with these Executors, one request to it
    python serving.py executor 51000 -- world                    one request to what `jina executor` serves at a port
    python serving.py load FOLDER...                             only load what stands in these folders

The texts of the answer, or the names of the classes, are the last line on stdout, as JSON. DocumentArray and DocList
are served alike, whichever is installed.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import docarray
from jina import Client, Executor, Flow

import lhub


def request(texts: list[str]) -> Any:
    """Documents with these texts, as the installed docarray has them."""
    if docarray.__version__ < "0.30":
        return docarray.DocumentArray([docarray.Document(text=text) for text in texts])
    from docarray.documents.legacy import LegacyDocument

    return docarray.DocList[LegacyDocument]([LegacyDocument(text=text) for text in texts])


def ask(served: Any, texts: list[str]) -> list[str]:
    """The texts that come back."""
    return [document.text for document in served.post("/", inputs=request(texts))]


def flow(references: list[str], texts: list[str]) -> list[str]:
    """Ask a Flow of these Executors: a reference is used where it lies in the registry, a folder as it stands."""
    served = Flow()
    for each in references:
        served = served.add(uses=f"{each}/config.yml" if os.path.isdir(each) else lhub.uses(each))
    with served:
        return ask(served, texts)


def main(verb: str, *words: str) -> list[str]:
    """Do what was asked for."""
    if verb == "load":
        return [type(Executor.load_config(f"{folder}/config.yml")).__name__ for folder in words]
    end = words.index("--")
    places, texts = list(words[:end]), list(words[end + 1 :])
    return flow(places, texts) if verb == "flow" else ask(Client(port=int(places[0])), texts)


if __name__ == "__main__":
    answer = main(*sys.argv[1:])
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
