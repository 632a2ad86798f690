"""What tests of container images are made of: tiny root folders, wheels, and archives as others write them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lhub.images.oci import Image, Layout, faults
from lhub.opening import digest_of
from lhub.registry import Registry

ELF = {"amd64": 0x3E, "arm64": 0xB7}
BANNER = b"GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\n"
Members = Mapping[str, "bytes | str | None"]
"""Paths of a tar: bytes of a file, what a link says, None for a folder."""


def program(architecture: str = "amd64") -> bytes:
    """The head of a program for a machine."""
    return b"\x7fELF\x02\x01" + bytes(12) + ELF[architecture].to_bytes(2, "little") + b"rest"


def rootfs(architecture: str = "amd64", **more: bytes | str | None) -> dict[str, bytes | str | None]:
    """The folders of a system with Python 3.11 and glibc 2.36; nothing in it runs."""
    return {
        "bin": "usr/bin",
        "usr/bin/python3": "python3.11",
        "usr/bin/python3.11": program(architecture),
        "usr/lib/libc.so.6": b"\x7fELF..." + BANNER,
        "usr/lib/python3/dist-packages/pip-23.0.1.dist-info/METADATA": b"Name: pip\n",
        **more,
    }


def tarred(members: Members) -> bytes:
    """A tar of these."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, content in members.items():
            info = tarfile.TarInfo(path)
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def sha(data: bytes) -> str:
    """A digest as documents have it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def settings(layers: Sequence[bytes], architecture: str = "amd64", **config: Any) -> dict[str, Any]:
    """A configuration for layers as they are unpacked."""
    return {
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin"], **config},
        "rootfs": {"type": "layers", "diff_ids": [sha(layer) for layer in layers]},
        "history": [{"created_by": "somebody"} for _ in layers],
    }


def docker_save(
    layers: Sequence[bytes], *, tags: Sequence[str] = ("x:1",), **config: Any
) -> dict[str, bytes | str | None]:
    """The members of what an older docker saves: a folder for each layer."""
    text = json.dumps(settings(layers, **config)).encode()
    name = f"{hashlib.sha256(text).hexdigest()}.json"
    paths = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": name, "RepoTags": list(tags), "Layers": paths}]
    return {name: text, **dict(zip(paths, layers, strict=True)), "manifest.json": json.dumps(manifest).encode()}


def layout_files(
    images: Sequence[tuple[str, Sequence[bytes]]], *, zipped: bool = True, docker: bool = False
) -> dict[str, bytes]:
    """The files of an OCI layout of others: (architecture, layers as they are unpacked) of each image."""
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    kinds = (
        (
            "vnd.docker.distribution.manifest.v2+json",
            "vnd.docker.container.image.v1+json",
            "vnd.docker.image.rootfs.diff.tar",
        )
        if docker
        else ("vnd.oci.image.manifest.v1+json", "vnd.oci.image.config.v1+json", "vnd.oci.image.layer.v1.tar")
    )
    ending = (".gzip" if docker else "+gzip") if zipped else ""

    def blob(data: bytes, kind: str) -> dict[str, Any]:
        files[f"blobs/sha256/{sha(data)[7:]}"] = data
        return {"mediaType": f"application/{kind}", "digest": sha(data), "size": len(data)}

    listed = []
    for architecture, layers in images:
        packed = [blob(gzip.compress(each, mtime=0) if zipped else each, kinds[2] + ending) for each in layers]
        config = blob(json.dumps(settings(layers, architecture)).encode(), kinds[1])
        manifest = {"schemaVersion": 2, "mediaType": f"application/{kinds[0]}", "config": config, "layers": packed}
        described = blob(json.dumps(manifest).encode(), kinds[0])
        listed.append({**described, "platform": {"os": "linux", "architecture": architecture}})
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": listed}).encode()
    return files


def wheel(
    folder: Path, name: str, *, tag: str = "py3-none-any", files: Mapping[str, str] | None = None, requires: str = ""
) -> Path:
    """A wheel with a module of its name, a program of its name, and `files` more."""
    info = f"{name}-1.0.dist-info"
    content = {
        f"{name}.py": f"word = '{tag}'\ndef main(): print(word)\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
        **(files or {}),
    }
    record = "".join(f"{path},,\n" for path in (*content, f"{info}/RECORD"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in {**content, f"{info}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(each, (2020, 1, 1, 0, 0, 0)), text)
    return path


def layout_of(registry: Registry, ref: str) -> Layout:
    """The layout of the image of a reference."""
    return registry.image(ref).layout


def see_whole(layout: Layout) -> None:
    """See that a layout is as the specification has it."""
    assert list(faults(layout, lambda descriptor, status: digest_of(descriptor)[0])) == []


def members_of(layout: Layout, image: Image, number: int = -1) -> dict[str, tarfile.TarInfo]:
    """The members of one layer of an image that is not compressed."""
    with tarfile.open(layout.blob(image.layers[number].digest)) as tar:
        return {info.name: info for info in tar}


def text_in(layout: Layout, image: Image, path: str, number: int = -1) -> str:
    """A file of such a layer."""
    with tarfile.open(layout.blob(image.layers[number].digest)) as tar:
        file = tar.extractfile(path)
        assert file is not None
        return file.read().decode()
