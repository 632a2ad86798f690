"""A scaffold: the files of a new Executor, from the few words that a person says of it.

Words in, texts out; nothing is read or written here. What it makes is what `jina hub new` made (jina-hubble-sdk,
`HubIO.new`), served by jina 3 with DocumentArray (docarray before 0.30) and DocList alike. Its Dockerfiles are mended:
for jax it wrote that of torch, and that of tensorflow took the latest image and the latest jina, whatever they were.

>>> plan("alice/Greeter", keywords="text, demo").files()["config.yml"].splitlines()[-5:]
["  description: ''", "  url: ''", '  keywords:', '  - text', '  - demo']
"""

from __future__ import annotations

import builtins
import keyword
import sys
from dataclasses import dataclass

from lhub.errors import UsageError, listing
from lhub.names import name_faults

DOCKERFILES = ("cpu", "torch-gpu", "tf-gpu", "jax-gpu")
"""The ways of running in a container, in jina's spelling."""
ALWAYS = ("README.md", "requirements.txt", "executor.py", "config.yml")
"""The files that every scaffold has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """What a new Executor is: `name` is that of its class, `namespace` whose it will be if not the pusher's own."""

    name: str
    namespace: str | None = None
    description: str = ""
    keywords: tuple[str, ...] = ()
    url: str = ""
    dockerfile: str | None = None

    @property
    def full_name(self) -> str:
        """The name under which it is pushed, as `metas.name` has it."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def files(self) -> dict[str, str]:
        """Each file's text by its path; what is read first at a push comes last."""
        texts = {"README.md": self._readme(), "requirements.txt": _REQUIREMENTS}
        if self.dockerfile:
            texts["Dockerfile"] = _BASES[self.dockerfile] + _REST
        return {**texts, "executor.py": self._code(), "config.yml": self._config()}

    def _readme(self) -> str:
        uri = f"jinaai://{self.namespace or 'NAMESPACE'}/{self.name}"
        about = f"{self.description.strip()}\n\n" if self.description.strip() else ""
        return f"# {self.name}\n\n{about}{_USAGE.format(uri=uri)}"

    def _code(self) -> str:
        return _CODE.format(name=self.name, docstring=_literal(self.description.strip() or f"What {self.name} does."))

    def _config(self) -> str:
        import yaml  # for who makes an Executor only

        class Dumper(yaml.SafeDumper):
            """Writes in double quotes, with escapes, what is not printable: in single ones PyYAML loses U+0085."""

            def represent_text(self, text: str) -> yaml.ScalarNode:
                return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')

        Dumper.add_representer(str, Dumper.represent_text)
        metas = {"name": self.full_name, "description": self.description, "url": self.url}
        config = {"jtype": self.name, "py_modules": ["executor.py"], "metas": {**metas, "keywords": [*self.keywords]}}
        return yaml.dump(config, Dumper=Dumper, sort_keys=False, width=sys.maxsize, allow_unicode=True)


def plan(
    name: str, *, description: str = "", keywords: str = "", url: str = "", dockerfile: str | None = None
) -> Scaffold:
    """The scaffold of what was said (keywords with commas between them); raises UsageError with every fault."""
    said = {"name": name, "description": description, "keywords": keywords, "url": url, "dockerfile": dockerfile}
    faults = [fault for what, text in said.items() if text is not None for fault in faults_of(what, text)]
    if faults:
        raise UsageError(listing("no Executor can be made of this", faults), hint="lhub new --help tells more")
    namespace, _, bare = name.rpartition("/")
    return Scaffold(
        name=bare,
        namespace=namespace or None,
        description=description,
        keywords=tuple(word for each in keywords.split(",") if (word := each.strip())),
        url=url,
        dockerfile=dockerfile,
    )


# what cannot be


def faults_of(what: str, text: str) -> list[str]:
    """A sentence for each thing wrong with a name, description, keywords, url or dockerfile."""
    if what == "dockerfile":
        known = f"there is {', '.join(DOCKERFILES)}"
        return [] if text in DOCKERFILES else [f"there is no Dockerfile of the sort '{text}', {known}"]
    return _name_faults(text) if what == "name" else _text_faults(what, text)


def _name_faults(name: str) -> list[str]:
    """Of ``X`` or ``alice/X``, where X is to be a class and a resource."""
    namespace, slash, bare = name.partition("/")
    if not slash:
        namespace, bare = "", name
    faults = name_faults(namespace, "namespace") if slash else []
    return faults + (name_faults(bare, "name") or _class_faults(bare))


def _class_faults(name: str) -> list[str]:
    """What Python, YAML or the file that the class stands in has against a name that a resource may have."""
    if not name.isidentifier():
        return [f"{name} cannot name a class: it needs letters, digits and '_' only, the first no digit"]
    other = f"call it My{name[0].upper()}{name[1:]} or the like"
    if keyword.iskeyword(name) or hasattr(builtins, name):
        return [f"{name} is a word of Python's own, as a class {other}"]
    if name in _TAKEN or name.lower() in _VALUES:
        return [f"{name} already means something to jina, {other}"]
    return []


def _text_faults(what: str, text: str) -> list[str]:
    """What keeps a text from being written, or jina from starting what says it."""
    faults = []
    if any("\ud800" <= character <= "\udfff" for character in text):
        faults.append(f"the {what} has bytes that are not UTF-8")
    if "$" in text and what != "keywords":
        faults.append(f"the {what} has a '$', which jina takes for a variable and then does not start")
    return faults


def _literal(text: str) -> str:
    """A docstring that says this text, whatever it holds; quotes and odd characters are escaped where they must be."""
    text = text.replace("\\", "\\\\")
    if '"""' in text or text.endswith('"'):
        text = text.replace('"', '\\"')
    lines = [
        "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        for line in text.split("\n")
    ]
    end = "\n    " if len(lines) > 1 else ""
    return '"""' + "\n".join([lines[0], *(f"    {line}".rstrip() for line in lines[1:])]) + end + '"""'


# the texts

_TAKEN = frozenset({"Executor", "requests", "BaseExecutor", "Flow", "Deployment", "Gateway"})
"""What the file itself imports, and what jina means by a jtype of this name."""
_VALUES = frozenset({"true", "false", "null", "yes", "no", "on", "off", "inf", "infinity", "nan"})
"""What jina, which writes and parses YAML again on its way to a class, takes for a value even in quotes."""

_REQUIREMENTS = "# What executor.py imports besides jina, one package a line, as in: numpy>=1.23\n"

_CODE = '''\
from jina import Executor, requests


class {name}(Executor):
    {docstring}

    @requests
    def greet(self, docs, **kwargs):
        """Answer every document with a greeting; your own work goes here."""
        for doc in docs:
            doc.text = f"hello, {{doc.text}}"
'''

_USAGE = """\
Try it here:

```bash
jina executor --uses config.yml
```

Push it, then use it from anywhere:

```bash
lhub push .
```

```python
import lhub
from jina import Flow

flow = Flow().add(uses=lhub.uses("{uri}"))
```
"""

_INSTALL = """
RUN apt-get update && apt-get install --no-install-recommends -y gcc libc6-dev git && rm -rf /var/lib/apt/lists/*

# jina 3 needs the pkg_resources that setuptools 82 no longer has
ARG JINA_VERSION=3.27.20
RUN python3 -m pip install --no-cache-dir "jina==${JINA_VERSION}" "setuptools<82"
"""

_BASES = {
    "cpu": """\
ARG JINA_VERSION=latest
FROM jinaai/jina:${JINA_VERSION}
""",
    "torch-gpu": f"""\
ARG TORCH_VERSION=2.1.2
ARG CUDA_VERSION=12.1
FROM pytorch/pytorch:${{TORCH_VERSION}}-cuda${{CUDA_VERSION}}-cudnn8-runtime
{_INSTALL}""",
    "tf-gpu": f"""\
# jina 3 knows no Python after 3.11, which is that of this image
ARG TF_VERSION=2.15.0
FROM tensorflow/tensorflow:${{TF_VERSION}}-gpu
{_INSTALL}""",
    "jax-gpu": f"""\
FROM python:3.11-slim

# jax brings CUDA along; of the host it needs the driver only, which this asks the container runtime for
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
{_INSTALL}
ARG JAX_VERSION=0.4.30
RUN python3 -m pip install --no-cache-dir "jax[cuda12]==${{JAX_VERSION}}"
""",
}

_REST = """
# before the code, so that a change of the code does not install again
COPY requirements.txt /tmp/requirements.txt
RUN python3 -m pip install --no-cache-dir --default-timeout=1000 --compile -r /tmp/requirements.txt

COPY . /workdir/
WORKDIR /workdir

ENTRYPOINT ["jina", "executor", "--uses", "config.yml"]
"""
