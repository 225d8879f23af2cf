"""Makes the same calls of list, Array, Value and Namespace on CPython's own manager and on the one at
ADDRESS, and prints each that ends differently."""

import array
import collections
import datetime
import decimal
import sys
from multiprocessing import current_process
from multiprocessing.managers import SyncManager

LIST = """
l.__add__((1,)); l.__add__([4]); l.__add__(); l.__add__(1, 2); l.__contains__(3); l.__contains__()
l + [1.0]; l * 2; 2 * l; l.__mul__('a'); l.__mul__(2**62); l.__mul__(2**64); l.__rmul__(True)
l.__imul__('a'); l.__imul__(-1); l.append(5); l.__imul__(3); l.__iadd__('ab')
l.__delitem__('a'); l.__delitem__(5); l.__delitem__(); l.__delitem__(2**100)
l.__delitem__(slice(0, 3, 0)); l.__delitem__(slice('a', 3)); l.__delitem__(slice(None, None, 2))
l.__delitem__(slice(None, None, -2)); l.__delitem__(-1); l.__delitem__(slice(0, 2))
l.__getitem__('a'); l.__getitem__(None); l.__getitem__(1.0); l.__getitem__(True)
l.__getitem__(2**100); l.__getitem__(7); l.__getitem__(-3); l.__getitem__(-4); l.__getitem__()
l.__getitem__(1, 2); l.__getitem__(x=1); l.__getitem__({}); l.__getitem__(slice(2**100, None, -2**100))
l[1:]; l[::-1]; l[::2]; l[-2:]; l[5:1]; l[:-9]; l[1:1]; l[2:0:-1]; l[True:]
l.__len__(1); l.__len__(x=1); len(l); list(reversed(l)); l.__reversed__(1); list(l)
l.clear(); list(reversed(l)); list(l); l.pop(); l.pop(3); l.__mul__(2**62); l.__imul__(2**40)
l.__setitem__(0); l.__setitem__(0, 1, 2); l.__setitem__(9, 1); l.__setitem__('a', 1); l.__setitem__(-1, 1)
l.__setitem__(slice(0, 2), 5); l.__setitem__(slice(0, 2), 'ab'); l.__setitem__(slice(0, 3, 2), 5)
l.__setitem__(slice(0, 3, 2), [5]); l.__setitem__(slice(0, 3, 2), [5, 6]); l.__setitem__(slice(2, 0), [9])
l.__setitem__(slice(3, 0, -1), []); l.__setitem__(slice(5, 0, 1), {7: 8}); l.__setitem__(slice(1, 1), (1, 2))
l.__setitem__(slice(None), range(5)); l.__setitem__(slice(None, None, -2), [1, 2, 3])
l.append(); l.append(1, 2); l.append(x=1); l.clear(1); l.clear(x=1); l.copy(1); l.copy()
l.count(); l.count(1, 2); l.count(1.0); l.extend(); l.extend(1); l.extend(None); l.extend('ab')
l.extend(b'ab'); l.extend({1: 2}); l.extend(list(reversed([7, 8]))); l.extend(list(iter('xy')))
l.extend(range(9, 0, -3))
l.index(); l.index(99); l.index('x'); l.index(3, 2, 3, 4); l.index(3, 'a'); l.index(3, None)
l.index(3, -2**100, 2**100); l.index(3, 2); l.index(2, -1); l.index(2.0); l.index(x=2)
l.insert(); l.insert(1); l.insert(1, 2, 3); l.insert('a', 1); l.insert(2**100, 1); l.insert(-99, 1)
l.insert(99, 1); l.insert(None, 1); l.insert(1.0, 1); l.insert(-1, 'x'); l.insert(index=1, object=2)
l.pop('a'); l.pop(9); l.pop(2**100); l.pop(None); l.pop(1, 2); l.pop(x=1); l.pop(0); l.pop(-1); l.pop()
l.remove(); l.remove(99); l.remove(3.0); l.reverse(1); l.reverse(); l.sort(1); l.sort(key=5); l.sort(key=None)
l.sort(foo=1); l.sort(reverse=True); l.sort(reverse=0); l.sort()
l.__setitem__(slice(None), [3, 1.5, True, 2**70, -2**70, 0.0]); l.sort(); l.sort(reverse=True)
l.__setitem__(slice(None), [3, 1, 2, 'a', 0]); l.sort(); l.sort(reverse=True)
l.__setitem__(slice(None), [(2, 'b'), (1, 'z'), (2, 'a')]); l.sort(); l.append((2, 3)); l.sort()
l.__setitem__(slice(None), [{1}, {2}, {1, 2}, set()]); l.sort(); l.append([]); l.sort()
l.__setitem__(slice(None), [None, None]); l.sort(); l.append({}); l.__setitem__(slice(2), []); l.sort()
l.__setitem__(slice(None), ['b', 'é', 'a', 'Z']); l.sort(); l.__setitem__(slice(None), [b'b', bytearray(b'a')])
l.sort(); l.append(1); l.sort(); l._callmethod('sort', (), {'reverse': True}); l._getvalue(); str(l)
l.__setitem__(slice(None), [float('inf'), 1e400, -1, 5e-324, 1 / 3]); l.sort(); l.append([[]]); l.sort()
"""

ARRAY = """
a.__getitem__('a'); a.__getitem__(9); a.__getitem__(-4); a.__getitem__(2**100); a.__getitem__()
a.__getitem__(1, 2); a.__getitem__(slice(0, 2)); a[::-1]; a[5:]; a[::0]; a.__getitem__(None)
a.__setitem__(0); a.__setitem__('a', 1); a.__setitem__(9, 1); a.__setitem__(9, 'x'); a.__setitem__(0, 'x')
a.__setitem__(0, 1.5); a.__setitem__(0, True); a.__setitem__(0, 2**31); a.__setitem__(0, -2**31 - 1)
a.__setitem__(0, 2**100); a.__setitem__(2**100, 1); a.__setitem__(None, 1); a.__setitem__(-1, 7)
a.__setitem__(slice(0, 1), [1]); a.__setitem__(slice(0, 1), 5); a.__setitem__(slice(0, 1), array.array('i', [7, 8]))
a.__setitem__(slice(0, 1), array.array('d', [7, 8])); a.__setitem__(slice(0, 4, 2), array.array('i', [-7, 8]))
a.__setitem__(slice(0, 3, 2), array.array('i', [7])); a.__setitem__(slice('x', 3, 2), [1, 2]); a.__len__(1)
len(a); list(a); str(a); a._getvalue()
d.__setitem__(0, 'x'); d.__setitem__(0, 2**100); d.__setitem__(0, None); d.__setitem__(0, 3); d[:]; d[0]; str(d)
f.__setitem__(0, 1e300); f.__setitem__(0, 0.1); f[0]; f[:]; str(f)
u.__setitem__(0, 'xy'); u.__setitem__(0, 5); u.__setitem__(0, ''); u.__setitem__(0, 'é'); u[:]; u[0]; str(u)
"""

NEW = """
m.Array('z', [1]); m.Array('zz', [1]); m.Array(5, [1]); m.Array(None, [1]); m.Array('i', 5); m.Array('i', None)
m.Array('i', 'abc'); m.Array('b', b'abc'); m.Array('i', b'abc'); m.Array('i', bytearray(8)); m.Array('i', {1: 2})
m.Array('Q', range(3)); m.Array('i', array.array('d', [1.0])); m.Array('i', array.array('h', [-1]))
m.Array('d', array.array('i', [1])); m.Array('u', 'ab'); m.Array('u', array.array('u', 'ab'))
m.Array('i', array.array('u', 'ab')); m.Array('i', list(iter([1]))); m.Array('i', ['a']); m.Array('i', [1.0])
m.Array('i'); m.Array(); m.Array('i', [1], True, 5); m.Array('i', [1], x=5); m.Array('i', [])
m.Array(typecode='i', sequence=[1]); m.Array('i', m.list([1, 2])); m.Array('i', m.Array('b', [1, 2]))
m.Array('h', array.array('h', [1]).__class__('h', [2, 3]), lock=False)
m.list(); m.list(5); m.list(1, 2); m.list(a=3); m.list('ab'); m.list(m.list([1])); m.list(range(3)); m.list(None)
m.list([1, 'a', None, 2.5, (1,), {2: 3}, b'x']); m.list({1: 2})
m.Value('i'); m.Value('i', 5); m.Value('i', 5, True, 3); m.Value(5, 'x'); m.Value('i', value=[1]); m.Value()
m.Namespace(); m.Namespace(1); m.Namespace(a=1, _b=2, Z='x', aa=3, a0=4); m.Namespace(**{'a b': 1})
""" + "".join(
    f"m.Array({code!r}, [{value}]);"
    for code in "bBhHiIlLqQ"
    for value in (0, -1, 127, 128, -129, 2**16, 2**31, 2**32, -(2**31) - 1, 2**63, -(2**63) - 1, 2**64, 2**100)
)

VALUE = """
v.get(); v.get(3); v.set(); v.set(1, 2); v.set(value=3); v.get(); v.set(v=3); v.set([1, {'a': 2}]); v.value
str(v); str(v._getvalue()); v.set(None); str(v)
"""

NAMESPACE = """
n.x; n.a; setattr(n, 'a', [1]); n.a; setattr(n, 'b', 'x'); str(n); delattr(n, 'a'); n.a; delattr(n, 'q'); str(n)
n._callmethod('__getattribute__', (5,)); n._callmethod('__getattribute__'); n._callmethod('__setattr__', ('a',))
n._callmethod('__setattr__', (5, 6)); n._callmethod('__delattr__'); n._callmethod('__delattr__', (None,))
n._callmethod('__getattribute__', ('__dict__',)); str(n._getvalue()); n._callmethod('__setattr__', ('_p', 1)); str(n)
"""

NESTED = """
o.append(i); o[0].append(1); str(o[0]); i[:]; o[0][0]; o.extend([i, i]); o[2].append(2); len(i); o.pop(1)[:]
o[0:1][0][:]; (o + [i])[-1][:]; o.copy()[0][:]; (o * 2)[3][:]; o.__setitem__(0, 5); o[0]; o[1][:]; o[-1].pop()
o.__add__(i); o.extend(i); o[:1]; o.clear(); i[:]; o.append({'k': (i,)}); o[0]['k'][0][:]; o[0]['k'][0].append(3); i[:]
"""

CONTAINERS = """
str(m.list(list(zip('ab', [1, 2, 3])))); str(m.list(list(enumerate('ab', 5)))); str(m.dict(list(zip('ab', 'cd'))))
str(m.dict(dict(collections.Counter('aab')), x=1)); str(m.list(range(5, 0, -2))); str(m.dict([(1, 2), 'ab', [3, 4]]))
d.update(dict(z=1)); d.update(list(enumerate('ab'))); d.update(m.dict(x=1)); d.update(m.list([(5, 6)]))
l.extend(range(3)); l.__setitem__(slice(0, 0), m.list('b')); str(l)
m.list(datetime.date(1, 2, 3)); m.list(decimal.Decimal(1)); str(d)
"""

CASES = [
    ("l = m.list([3, 1, 2])", LIST, "l"),
    ("a = m.Array('i', [3, 1, 2]); d = m.Array('d', [1.5]); f = m.Array('f', [1]); u = m.Array('u', 'ab')", ARRAY, "a"),
    ("", NEW, ""),
    ("d = m.dict(); l = m.list()", CONTAINERS, "d"),
    ("v = m.Value('i', 5)", VALUE, "v"),
    ("n = m.Namespace(a=1)", NAMESPACE, "n"),
    ("o = m.list(); i = m.list()", NESTED, "i"),
]


def outcome(call, names):
    try:
        result = eval(call, names)
        if hasattr(result, "_callmethod"):
            result = str(result)
        return f"{result!r}"
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if text.startswith("RemoteError: "):
            text = text.rstrip("- \n").rsplit("\n", 1)[-1].strip()
        # The texts are this manager's own.
        return text.split(":")[0]


def main():
    current_process().authkey = b"key"  # For proxies inside other objects.
    host, port = sys.argv[1].rsplit(":", 1)
    theirs = SyncManager(authkey=b"key")
    theirs.start()
    ours = SyncManager((host, int(port)), authkey=b"key")
    ours.connect()
    calls = 0
    for setup, text, shown in CASES:
        names = [dict(globals(), m=manager) for manager in (theirs, ours)]
        for each in names:
            exec(setup, each)
        for call in (call.strip() for line in text.split("\n") for call in line.split(";")):
            if not call:
                continue
            calls += 1
            expected, got = (outcome(call, each) for each in names)
            if expected != got:
                print(f"{call}: {got}, not {expected}")
            if "sort" in call and expected == "TypeError":
                # CPython leaves the list in any order.
                for each in names:
                    eval(f"{shown}.__setitem__(slice(None), [3, 1, 2])", each)
            if shown:
                expected, got = (outcome(f"str({shown})", each) for each in names)
                if expected != got and "object at" not in expected:
                    print(f"{call}, then {shown}: {got}, not {expected}")
    print(f"{calls} calls")


if __name__ == "__main__":
    main()
