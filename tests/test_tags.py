"""Tags, as the links tell them."""

from __future__ import annotations

from lhub.tags import Links, Tag

OLD, NEW = "0" * 64, "1" * 64


def links(*tags: Tag) -> Links:
    return Links(tags={tag.tag: tag for tag in tags}, odd={})


def tag(name: str, version: str = OLD, when: float = 0.0, protected: bool = False) -> Tag:
    return Tag(tag=name, version=version, protected=protected, uid=0, when=when)


def test_latest_stands_for_the_resource_though_another_tag_moved_later() -> None:
    assert links(tag("latest", OLD, 1), tag("v2", NEW, 2)).head == OLD


def test_without_latest_the_tag_that_moved_last_stands_for_the_resource() -> None:
    assert links(tag("v1", OLD, 1), tag("v2", NEW, 2)).head == NEW


def test_of_two_tags_that_moved_together_always_the_same_stands_for_the_resource() -> None:
    one, other = tag("a", OLD, 1), tag("b", NEW, 1)
    assert links(one, other).head == links(other, one).head


def test_without_a_tag_nothing_stands_for_the_resource() -> None:
    assert (links().head, links().updated, links().protected, links().versions()) == (None, 0.0, [], {})


def test_a_resource_was_updated_when_a_tag_last_moved() -> None:
    assert links(tag("a", when=3), tag("latest", when=2)).updated == 3


def test_protected_tags_are_told_by_name() -> None:
    assert links(tag("z", protected=True), tag("m"), tag("a", protected=True)).protected == ["a", "z"]


def test_versions_are_told_by_tag_in_order() -> None:
    assert list(links(tag("z"), tag("a", NEW)).versions().items()) == [("a", NEW), ("z", OLD)]
