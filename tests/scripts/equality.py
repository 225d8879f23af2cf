"""Looks up objects that are equal and pickled differently: in the manager at ADDRESS, or with no argument in
one of Python's own."""

import datetime
import decimal
import enum
import fractions
import sys
import uuid
from collections import namedtuple
from dataclasses import dataclass
from multiprocessing.managers import DictProxy, SyncManager
from pathlib import PurePosixPath, PureWindowsPath

from both import run_with_manager

SyncManager.register("shared", proxytype=DictProxy)


class Pair(namedtuple("Pair", "first second")):
    pass


class Color(enum.Enum):
    RED = "red"


class Keyword(tuple):
    """Made with a keyword argument: the opcode NEWOBJ_EX."""

    def __new__(cls, *, names):
        return super().__new__(cls, names)

    def __getnewargs_ex__(self):
        return (), {"names": tuple(self)}


@dataclass(frozen=True)
class Point:
    x: object
    y: object


def text(word="text"):
    """A string that is no other object."""
    return "".join(list(word))


shared = text("a longer text, so that a reference is shorter")


def other():
    return text(shared)


def equal():
    """Pairs of equal objects, and what they are."""
    yield Pair(shared, shared), Pair(other(), other())
    yield Pair(1, True), Pair(1.0, 1)
    yield Pair(frozenset(["a", "b", "c"]), ()), Pair(frozenset(["c", "b", "a"]), ())
    yield (Pair(shared, 1), shared), (Pair(other(), 1), other())
    yield Pair(Pair(shared, shared), [shared][0]), Pair(Pair(other(), other()), other())
    yield Point(shared, (shared, shared)), Point(other(), (other(), other()))
    yield Point(Color.RED, Color.RED), Point(Color("red"), Color("red"))
    yield Keyword(names=(shared, shared)), Keyword(names=(other(), other()))
    day = datetime.date(2024, 2, 29)
    yield Pair(day, day), Pair(datetime.date(2024, 2, 29), datetime.date(2024, 2, 29))
    yield fractions.Fraction(2, 4), fractions.Fraction(1, 2)
    yield decimal.Decimal("1.5"), decimal.Decimal("1.5")
    yield uuid.UUID(int=7), uuid.UUID(int=7)
    yield PurePosixPath("a") / "b", PurePosixPath("a/b")
    yield PurePosixPath("/a") / "./b//" / "c", PurePosixPath("/a/b/c")
    yield PurePosixPath("a") / "/b", PurePosixPath("/b")
    yield PureWindowsPath("C:/A") / "b", PureWindowsPath(r"c:\a\B")
    yield Pair(PurePosixPath("a") / "b", shared), Pair(PurePosixPath("a/b"), other())


def different():
    yield Pair(shared, 1), Pair(shared, 2)
    yield Point(1, 2), Point(2, 1)
    yield PurePosixPath("a/b"), PurePosixPath("a/../b")
    yield PurePosixPath("a/b"), PureWindowsPath("a/b")
    yield PurePosixPath("a"), PurePosixPath("/a")
    yield Keyword(names=("a",)), Keyword(names=("b",))
    yield datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29)
    yield str, int


def run(manager):
    for one, two in equal():
        assert one == two and hash(one) == hash(two)
        check(manager, one, two, True)
        check(manager, two, one, True)
    for one, two in different():
        assert one != two
        check(manager, one, two, False)


def check(manager, one, two, same):
    names = manager.dict()
    names[one] = 1
    assert (two in names) == same, (one, two)
    names[two] = 2
    assert len(names) == (1 if same else 2), (one, two)
    assert names[one] == (2 if same else 1), (one, two)
    items = manager.list([0, one])
    assert (two in items) == same, (one, two)
    assert items.count(two) == same, (one, two)
    if same:
        assert items.index(two) == 1, (one, two)
        items.remove(two)
    if hasattr(manager, "set"):
        members = manager.set([one])
        members.add(two)
        assert len(members) == (1 if same else 2), (one, two)


def run_shared(manager):
    """Other versions of Python looked up the same before."""
    names = manager.shared()
    for path in (PurePosixPath("/a") / "b", PurePosixPath("/a/b"), PurePosixPath("/") / "a" / "b"):
        names[path] = 1
        assert len(names) == 1, path


if __name__ == "__main__":
    if len(sys.argv) > 1 and not hasattr(SyncManager, "set"):
        SyncManager.register("set")
    run_with_manager(run, run_shared)
