"""lhub: a registry for Executors, arrays of documents and any other files that is nothing but a directory tree.

    import lhub
    lhub.login("alice")
    pushed = lhub.push("MyExecutor", tags=["v1", "latest"], protected_tags=["v1"])
    pulled = lhub.pull("jinaai://alice/MyExecutor:v1", "here")
    registry = lhub.Registry("/mnt/team/registry", namespace="alice")   # the same verbs, no global state

With docarray (``pip install "lhub[docarray]"``) also a DocumentArray or DocList, and it comes back as one:

    pushed = lhub.push(docs, "alice/fashion_mnist")
    docs = lhub.load("alice/fashion_mnist")

Every error is a :class:`LhubError` with `.code` (the exit code of the command line) and `.hint`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from lhub.errors import (
        BuildFailed,
        Conflict,
        Corrupt,
        Denied,
        LhubError,
        LockTimeout,
        NotFound,
        ToolMissing,
        UsageError,
    )
    from lhub.fetch import Pulled
    from lhub.orders import Pushed
    from lhub.registry import Registry

__version__ = "0.1.0"

__all__ = [
    "BuildFailed",
    "Conflict",
    "Corrupt",
    "Denied",
    "LhubError",
    "LockTimeout",
    "NotFound",
    "Registry",
    "ToolMissing",
    "UsageError",
    "load",
    "load_stream",
    "login",
    "logout",
    "path",
    "pull",
    "push",
    "push_stream",
    "uses",
]


def login(namespace: str) -> None:
    """Log in to a namespace, for all registries, and claim it in the one that `LHUB_ROOT` names.

    Raises Denied (4) when it belongs to another OS user, UsageError (2) for what is no name.
    """
    import lhub.door as door

    door.login(door.here(writes=True, anonymous=True), namespace)


def logout() -> None:
    """Log out; nothing happens when nobody is logged in."""
    import lhub.door as door
    import lhub.identity as identity

    identity.forget(door.home())


def push(
    path: str | os.PathLike[str] | Iterable[Any],
    name: str | None = None,
    *,
    tags: Iterable[str] = (),
    protected_tags: Iterable[str] = (),
    public: bool | None = None,
    private: bool = False,
    force_update: str | None = None,
    secret: str | None = None,
    seal: bool = False,
    message: str = "",
    expect: str | None = None,
    if_absent: bool = False,
    build_env: Mapping[str, str] | None = None,
    show_progress: bool = False,
    image: str | None = None,
    builder: str | None = None,
    dockerfile: str | os.PathLike[str] | None = None,
    platforms: Iterable[str] = (),
    no_cache: bool = False,
    base: str | None = None,
) -> Pushed:
    """Push a folder, a file, or documents as a version of a resource, and let tags name it.

    `path` is a folder or a file; or a DocumentArray (docarray before 0.30) or DocList (since), or any iterable of
    documents, which is written one by one as it comes. `show_progress` shows docarray's bar for those.
    `name` is ``X`` or ``alice/X``; without it the folder's own name counts (`metas.name` of `config.yml`, then
    `name` of `manifest.yml`). Without `tags` and `protected_tags` the tag is ``latest``; a protected tag never moves
    again. The first push is public unless `private` (or `public=False`, as docarray had it); later ones
    leave the visibility alone unless told.
    `force_update` and `secret` update a resource without a namespace. `seal`: it is private, and only a key opens it,
    whoever reads the disk (what is private without a namespace is so too, where lhub[seal] is installed); its secret is
    told once, as `Pushed.secret`, or is that which is given as `secret`. `expect` (8 to 64 hex digits) is the version
    that the tags must stand at; `if_absent`: they must not stand. `build_env` are the variables that the requirements
    use as ``${NAME}``, by name; their values are kept nowhere.

    What travels of an Executor is complete: a `config.yml` is written where the folder has none, `manifest.yml` is
    merged into its `metas`, the dependencies of `pyproject.toml` are added to the requirements (the rules are those of
    jina-ai/executor-normalizer). The folder itself stays as it is, and nothing in it is run.

    `image` is ``auto`` (the default, or what `LHUB_IMAGE` says: a container image is built of an Executor that has a
    Dockerfile, or whose namespace has a base), ``always`` or ``never``; `builder` is ``docker``, ``podman``,
    ``buildah`` or ``python``, else the first that answers; `dockerfile` a path in the folder; `platforms` as in
    ``linux/amd64``; `base` is the reference of a base: who names one of these wants an image (``always``). `no_cache`
    builds all anew. The source is published first.

    Returns a `Pushed` with name, uri, version, tags, protected_tags, visibility, new, task_id, secret, path, image,
    sealed.

    Raises UsageError (2) with every fault of the folder or the call, Denied (4) for another's namespace, Conflict (5)
    for a protected tag, a standing name or a failed `expect`, LockTimeout (7), LhubError (1) for a full disk or a
    folder that changed meanwhile, ToolMissing (9) where an image must be built and nothing can, or something be sealed
    without the library for it. After any of them the
    tags are what they were. A BuildFailed (8) is of the image alone: its `pushed` tells what was published.
    """
    import lhub.door as door

    return door.here(writes=True).push(
        path,
        name,
        tags=tags,
        protected_tags=protected_tags,
        public=public,
        private=private,
        force_update=force_update,
        secret=secret,
        seal=seal,
        message=message,
        expect=expect,
        if_absent=if_absent,
        build_env=build_env,
        show_progress=show_progress,
        image=door.image(image, builder, dockerfile, platforms, base),
        builder=builder,
        dockerfile=dockerfile,
        platforms=platforms,
        no_cache=no_cache,
        base=base,
    )


def push_stream(docs: Iterable[Any], name: str, **asked: Any) -> Pushed:
    """Push documents as they come; memory does not grow with their number. `asked` is what `push` takes.

    `docs` is any iterable of documents of docarray, also a generator; what it raises is raised here, and nothing is
    published then. Raises as `push` does.
    """
    import lhub.door as door

    return door.here(writes=True).push_stream(docs, name, **asked)


def load(ref: str, *, doc_type: Any = None, show_progress: bool = False, allow_pickle: bool = False) -> Any:
    """The documents of a version, as the array that the installed docarray has: a DocumentArray, or a DocList.

    `doc_type` is the schema of a DocList's documents (a class of BaseDoc's; without it they are `AnyDoc`, with
    whatever fields they have). Every byte is verified before a document is made of it. A version that was pushed as a
    pickle is loaded with `allow_pickle` only, since a pickle can run any code.

    Raises NotFound (3), ToolMissing (9) where docarray is not installed or is of the other generation (the hint says
    what to install), UsageError (2) for documents that do not fit `doc_type`, for a pickle, and for what is no array,
    Corrupt (6) for bytes that are not those published.
    """
    import lhub.door as door

    return door.here().load(ref, doc_type=doc_type, show_progress=show_progress, allow_pickle=allow_pickle)


def load_stream(
    ref: str, *, doc_type: Any = None, show_progress: bool = False, allow_pickle: bool = False
) -> Iterator[Any]:
    """The documents of a version one by one, as `load`; memory does not grow with their number."""
    import lhub.door as door

    return door.here().load_stream(ref, doc_type=doc_type, show_progress=show_progress, allow_pickle=allow_pickle)


def pull(
    ref: str,
    destination: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
    install_requirements: bool = False,
    build_env: Mapping[str, str] | None = None,
) -> Pulled:
    """Lay a version out as a folder, or as the file that it was pushed as, every byte verified.

    `ref` is any reference (``alice/X``, ``jinaai://alice/X:v1``, ``alice/X@3f2a9c1d``, ``jinahub://X:secret/v1``);
    `destination` defaults to a folder named like the resource, in the current one, or of a file with its ending;
    `force` replaces what stands there.
    With `install_requirements` pip then installs what an Executor requires, in this environment; the variables that
    its requirements use are taken from `build_env`, else from the environment.

    Returns a `Pulled` with ref, name, version, path, build_env (the names of those variables).

    Raises UsageError (2), also for a variable that is not set, NotFound (3) for what is not here or not for the caller,
    Conflict (5) when the destination exists, Corrupt (6) naming the file whose bytes are not those published; then
    nothing is at the destination. BuildFailed (8) when pip fails, ToolMissing (9) without pip.
    """
    import lhub.door as door

    registry = door.here()
    variables = door.variables(registry.variables(ref), build_env) if install_requirements else {}
    return registry.pull(ref, destination, force=force, install_requirements=install_requirements, build_env=variables)


def uses(ref: str, *, install_requirements: bool = False, build_env: Mapping[str, str] | None = None) -> str:
    """The config.yml of an Executor inside the registry, for `uses` of a Flow: nothing is copied.

    ``Flow().add(uses=lhub.uses("jinaai://alice/X:v1"))``; `install_requirements` and `build_env` as for `pull`.

    Raises NotFound (3) for what is not here, not for the caller or no Executor, UsageError (2) for a variable that its
    requirements use and that is not set, BuildFailed (8), ToolMissing (9).
    """
    import lhub.door as door

    registry = door.here()
    variables = door.variables(registry.variables(ref), build_env)
    config = registry.uses(ref, install_requirements=install_requirements, build_env=variables)
    door.keep_clean(config)
    return config


def path(ref: str) -> str:
    """The immutable folder of a version inside the registry, to use without copying; raises as `pull` does."""
    import lhub.door as door

    return door.here().path(ref)


def __dir__() -> list[str]:
    """What is here, loaded or not."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """`Registry` and the errors, loaded at first use: pytest imports this package in every run, for its fixtures."""
    if name not in __all__:
        raise AttributeError(f"module 'lhub' has no attribute {name!r}")
    if name == "Registry":
        from lhub.registry import Registry

        return Registry
    import lhub.errors as errors

    return getattr(errors, name)
