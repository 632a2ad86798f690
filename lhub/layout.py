"""Where everything lies: every path of a registry is born here, and every mode.

Paths are plain text (`pathlib` costs every command 15 ms). Nothing here looks at the disk.

>>> place = ResourceFolder("/srv/registry/alice/X")
>>> place.tag("v1"), place.pin("v1")
('/srv/registry/alice/X/v1', '/srv/registry/alice/X/.protected.v1')
>>> read_link(".lhub/versions/" + "0" * 64) == "0" * 64
True
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from lhub.names import UNNAMED, is_name, is_space

PIN = ".protected."
REGISTRY_FILE, NAMESPACE_FILE, RESOURCE_FILE = "registry.yaml", "namespace.yaml", "resource.yaml"
SEAL_FILE = "seal.yaml"
TOKENS_FILE = ".tokens.yaml"
TOKENS_ASIDE = (".tokens.lock", ".tokens.new")
BASE = "base"
"""The kind of a resource that is a container base image."""
BASES = ".bases"
"""This folder of a namespace has a file for each base image in it, so that a push finds them without a search."""
INBOX = ".inbox."
"""Folders of a namespace that start so hold uploads on their way."""
MANIFEST, SUMS, FILES = "manifest.yaml", "SHA256SUMS", "files"
SCRATCH = ".tmp."
"""Names under `versions/` that start so are nobody's business but their maker's."""

_LINK = ".lhub/versions/"
_TRASH, _SEEN, _GONE, _OLD = ".trash.", ".seen.", ".gone.", ".old."
TRASH = ".trash"
"""Deleted resources lie in this folder of their namespace."""
_STICKY = 0o1000
_HEX = "0123456789abcdef"


class Modes(NamedTuple):
    """Owner, group and others as the kernel shall enforce them; set explicitly, whatever the umask."""

    public: int
    private: int
    sealed: int
    inner: int
    file: int
    lock: int


SHARED_ROOT, TEAM_SPACE = 0o1777, 0o3775
"""The modes of a root that every user may make namespaces in, and of a folder that is one group's."""
ONE_PERSON = Modes(public=0o755, private=0o700, sealed=0o1755, inner=0o755, file=0o644, lock=0o600)
TEAM = Modes(public=0o2775, private=0o2770, sealed=0o2770, inner=0o2775, file=0o664, lock=0o660)
STAGING, VERSION_FOLDER, PAYLOAD, EXECUTABLE = 0o700, 0o555, 0o444, 0o555


def modes_of(namespace_mode: int) -> Modes:
    """A namespace that is setgid and group-writable is a team's."""
    return TEAM if namespace_mode & 0o2020 == 0o2020 else ONE_PERSON


def is_private(resource_mode: int) -> bool:
    """A resource's mode is its visibility: private is what others cannot read, or what is sealed."""
    return not resource_mode & 0o005 or is_sealed(resource_mode)


def is_sealed(resource_mode: int) -> bool:
    """Private by a key: everybody may read the bytes, and the folder's sticky bit says that only a key opens them."""
    return bool(resource_mode & _STICKY)


def kept(resource_mode: int, modes: Modes) -> int:
    """What the mode of a resource's folder should be, by what it says of its visibility."""
    if is_sealed(resource_mode):
        return modes.sealed
    return modes.private if is_private(resource_mode) else modes.public


class _Folder:
    """A folder of a registry by its path. No dataclass: four of them cost every command 3 ms."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"


class RegistryFolder(_Folder):
    """The root of a registry."""

    __slots__ = ()

    @property
    def file(self) -> str:
        """registry.yaml, which tells the format."""
        return f"{self.path}/{REGISTRY_FILE}"

    def namespace(self, name: str | None) -> NamespaceFolder:
        """The folder of a namespace; of what has none for None."""
        return NamespaceFolder(f"{self.path}/{name or UNNAMED}")


class NamespaceFolder(_Folder):
    """A namespace; its owner on disk is its owner."""

    __slots__ = ()

    @property
    def file(self) -> str:
        """namespace.yaml."""
        return f"{self.path}/{NAMESPACE_FILE}"

    def resource(self, name: str) -> ResourceFolder:
        """The folder of a resource."""
        return ResourceFolder(f"{self.path}/{name}")

    @property
    def tokens(self) -> str:
        """.tokens.yaml: what lets programs in, as digests."""
        return f"{self.path}/{TOKENS_FILE}"

    @property
    def tokens_lock(self) -> str:
        """Held by who changes the tokens."""
        return f"{self.path}/.tokens.lock"

    @property
    def tokens_scratch(self) -> str:
        """The tokens as they will be."""
        return f"{self.path}/.tokens.new"

    @property
    def bases(self) -> str:
        """Where the names of base images are found."""
        return f"{self.path}/{BASES}"

    def inbox(self, unique: str) -> str:
        """Where an upload lies until it is pushed: its name may come behind its bytes."""
        return f"{self.path}/{INBOX}{unique}"

    @property
    def trash(self) -> str:
        """Where deleted resources lie until a collection."""
        return f"{self.path}/{TRASH}"

    def gone(self, unique: str) -> str:
        """The name of a deleted resource that is being removed for good."""
        return f"{self.path}/{TRASH}/{_GONE}{unique}"

    def deleted(self, name: str, when: float) -> ResourceFolder:
        """The folder of a resource that was deleted at this second."""
        return ResourceFolder(f"{self.path}/{TRASH}/{int(when)}.{name}")


class BuildFolder(_Folder):
    """One build task."""

    @property
    def file(self) -> str:
        """task.yaml, which tells whose it is."""
        return f"{self.path}/task.yaml"

    @property
    def events(self) -> str:
        """What it did so far, a JSON object a line."""
        return f"{self.path}/events.jsonl"

    @property
    def lock(self) -> str:
        """Held by its builder: when it is free, the builder has ended."""
        return f"{self.path}/lock"

    @property
    def cancel(self) -> str:
        """Stands when somebody has asked it to stop."""
        return f"{self.path}/cancel"


class ResourceFolder(_Folder):
    """A resource: its tags and pins, and under `.lhub/` all that they name."""

    __slots__ = ()

    @property
    def file(self) -> str:
        """resource.yaml, which tells the kind."""
        return f"{self.path}/{RESOURCE_FILE}"

    def tag(self, tag: str) -> str:
        """The link of a tag."""
        return f"{self.path}/{tag}"

    def pin(self, tag: str) -> str:
        """The link that makes a tag protected."""
        return f"{self.path}/{PIN}{tag}"

    @property
    def inside(self) -> str:
        """All but the tags."""
        return f"{self.path}/.lhub"

    @property
    def versions(self) -> str:
        """The folder of versions, of staging and of trash."""
        return f"{self.path}/.lhub/versions"

    def version(self, name: str) -> VersionFolder:
        """A version by its id, or by the name it has in the trash."""
        return VersionFolder(f"{self.path}/.lhub/versions/{name}")

    @property
    def history(self) -> str:
        """The diary, a bare git repository."""
        return f"{self.path}/.lhub/history.git"

    @property
    def objects(self) -> str:
        """Git's own objects."""
        return f"{self.path}/.lhub/history.git/objects"

    @property
    def branch(self) -> str:
        """The file that names the newest entry of the diary."""
        return f"{self.path}/.lhub/history.git/refs/heads/main"

    @property
    def recorded(self) -> str:
        """What the diary was last told, so that nobody asks git when nothing lags; may be deleted at any time."""
        return f"{self.path}/.lhub/recorded.json"

    def blob(self, digest: str) -> str:
        """A file's content, where git-lfs looks for it too."""
        return f"{self.path}/.lhub/history.git/lfs/objects/{digest[:2]}/{digest[2:4]}/{digest}"

    @property
    def stores(self) -> tuple[str, str]:
        """The folders above all blobs."""
        return f"{self.path}/.lhub/history.git/lfs", f"{self.path}/.lhub/history.git/lfs/objects"

    @property
    def images(self) -> str:
        """One folder an image."""
        return f"{self.path}/.lhub/images"

    def image(self, version: str) -> str:
        """The image of a version, an OCI layout."""
        return f"{self.path}/.lhub/images/{version}"

    def old_image(self, version: str) -> str:
        """The one that it had before, until the new one is in its place."""
        return f"{self.path}/.lhub/images/{_OLD}{version}"

    def gone_image(self, unique: str) -> str:
        """The name of an image that is being removed."""
        return f"{self.path}/.lhub/images/{_GONE}{unique}"

    @property
    def builds(self) -> str:
        """One folder a build task."""
        return f"{self.path}/.lhub/builds"

    def build(self, task: str) -> BuildFolder:
        """The folder of a build task."""
        return BuildFolder(f"{self.path}/.lhub/builds/{task}")

    @property
    def secret(self) -> str:
        """The verifier of the secret of a resource without a namespace."""
        return f"{self.path}/.lhub/secret"

    @property
    def seal(self) -> str:
        """seal.yaml: for whom its versions are sealed, where they are."""
        return f"{self.path}/.lhub/{SEAL_FILE}"

    @property
    def lock(self) -> str:
        """The lock of writers."""
        return f"{self.path}/.lhub/lock"

    @property
    def is_deleted(self) -> bool:
        """Whether it lies in its namespace's trash."""
        return self.path.endswith(f"/{TRASH}/{self.path.rpartition('/')[2]}")

    @property
    def damaged(self) -> str:
        """The quarantine of blobs that are not what their names say."""
        return f"{self.path}/.lhub/damaged"

    def seen(self, version: str) -> str:
        """The note that a collection found a version without a tag; its mtime is when."""
        return f"{self.path}/.lhub/versions/{_SEEN}{version}"

    def gone(self, unique: str, version: str) -> str:
        """The name of a version that is being removed for good."""
        return f"{self.path}/.lhub/versions/{_GONE}{unique}.{version}"

    def quarantine(self, digest: str, when: float) -> str:
        """Where a blob is put aside at this second."""
        return f"{self.path}/.lhub/damaged/{int(when)}.{digest}"

    def scratch(self, unique: str) -> str:
        """A name to stage under; `.lock`, `.link` and `.file` are appended for what belongs to it."""
        return f"{self.path}/.lhub/versions/{SCRATCH}{unique}"


class VersionFolder(_Folder):
    """A version, published or staged."""

    __slots__ = ()

    @property
    def manifest(self) -> str:
        """manifest.yaml."""
        return f"{self.path}/{MANIFEST}"

    @property
    def sums(self) -> str:
        """SHA256SUMS."""
        return f"{self.path}/{SUMS}"

    @property
    def files(self) -> str:
        """The payload."""
        return f"{self.path}/{FILES}"

    def payload(self, path: str) -> str:
        """One file of the payload."""
        return f"{self.path}/{FILES}/{path}"


class Located(NamedTuple):
    """Where a name below a root is: in which namespace's folder, resource and (published) version."""

    space: str
    resource: str
    version: str | None


def locate(name: str) -> Located | None:
    """The resource that a name below a root belongs to, and the version; None for what is in no resource.

    >>> locate("alice/X/latest")
    Located(space='alice', resource='X', version=None)
    """
    space, _, below = name.partition("/")
    resource, _, rest = below.partition("/")
    if not is_space(space) or not is_name(resource):
        return None
    version = rest.removeprefix(_LINK).partition("/")[0] if rest.startswith(_LINK) else ""
    return Located(space=space, resource=resource, version=version if is_version(version) else None)


def link_to(version: str) -> str:
    """What the link of a tag or a pin says."""
    return _LINK + version


@lru_cache(maxsize=256)
def read_link(text: str) -> str | None:
    """The version that a link names; None for a link that leads anywhere else. Often several say the same."""
    version = text.removeprefix(_LINK)
    return version if version != text and is_version(version) else None


def is_version(name: str) -> bool:
    """Whether a name under `versions/` is a published version."""
    return len(name) == 64 and not name.strip(_HEX)


def trash_name(version: str, now: float) -> str:
    """The name under `versions/` of a version that goes to the trash."""
    return f"{_TRASH}{int(now)}.{version}"


def trashed(name: str) -> str | None:
    """The version id of a name under `versions/` that is in the trash."""
    when, _, version = name.removeprefix(_TRASH).partition(".")
    return version if name.startswith(_TRASH) and _is_seconds(when) and is_version(version) else None


def image_of(name: str) -> str | None:
    """The version that a name under `images/` is the image of, or was until a new one is in its place."""
    version = name.removeprefix(_OLD)
    return version if is_version(version) else None


def seen_note(name: str) -> str | None:
    """The version id of a collection's note under `versions/`."""
    version = name.removeprefix(_SEEN)
    return version if version != name and is_version(version) else None


def is_gone(name: str) -> bool:
    """Whether a name under `versions/`, or in a namespace's trash, is something that is being removed for good."""
    return name.startswith(_GONE)


def going(name: str) -> str | None:
    """The version id of a name under `versions/` that is being removed for good."""
    version = name.rpartition(".")[2]
    return version if is_gone(name) and is_version(version) else None


def since_name(name: str) -> float:
    """The seconds in the name of something in a trash; 0.0 for another name."""
    when = name.removeprefix(_TRASH).partition(".")[0]
    return float(when) if _is_seconds(when) else 0.0


def deleted_name(name: str) -> str | None:
    """The resource that a name in a namespace's trash is of."""
    when, _, resource = name.partition(".")
    return resource if _is_seconds(when) and is_name(resource) else None


def _is_seconds(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= 15
