"""Makes the same random calls of CPython's own SyncManager and of another, and prints where they differ: in the value
that a call returns, or in the class of the exception that it raises.

python differential.py ADDRESS AUTHKEY SEED CALLS [TYPE...]

Prints a line for each difference, its columns separated by tabs: type.method, the call, CPython's outcome, the other
manager's outcome. The last line counts the calls.
"""

import datetime
import decimal
import multiprocessing
import queue
import random
import re
import sys
from multiprocessing.managers import BaseProxy, MakeProxyType, RemoteError, SyncManager

DICT = """__contains__ __delitem__ __getitem__ __ior__ __iter__ __len__ __or__ __reversed__ __ror__
    __setitem__ clear copy fromkeys get items keys pop popitem setdefault update values"""
SET = """__and__ __contains__ __iand__ __ior__ __isub__ __iter__ __ixor__ __len__ __or__ __rand__
    __ror__ __rsub__ __rxor__ __sub__ __xor__ __ge__ __gt__ __le__ __lt__ add clear copy difference
    difference_update discard intersection intersection_update isdisjoint issubset issuperset pop
    remove symmetric_difference symmetric_difference_update union update"""
LIST = """__add__ __contains__ __delitem__ __getitem__ __iadd__ __imul__ __len__ __mul__ __reversed__
    __rmul__ __setitem__ append clear copy count extend index insert pop remove reverse sort"""


class Both(SyncManager):
    """Offers the methods of the newest Python, as far as this one's types have them."""


def offer(typeid, type_, names, method_to_typeid=None):
    names = [name for name in names.split() if hasattr(type_, name)]
    proxy = MakeProxyType(typeid.title() + 'Proxy', names)
    proxy._method_to_typeid_ = method_to_typeid
    Both.register(typeid, type_, proxy, names, method_to_typeid)


offer('dict', dict, DICT, {'__iter__': 'Iterator'})
offer('set', set, SET)
offer('list', list, LIST)

R = random.Random()


def pick(*options):
    """One of the options; a function among them is asked for a value."""
    option = R.choice(options)
    return option() if callable(option) else option


def small():
    return R.randint(-4, 9)


def key():
    return pick(small, small, small, 1.0, True, 0.5, 'a', 'b', 'key', b'a', None, (1, 'a'), (1.0, 'a'),
                (), frozenset([1, 2]), 2**70, float(2**70), -0.0, float('inf'), 'é\n"',
                lambda: pick(datetime.date(2024, 2, 29), datetime.date(2023, 1, 1), decimal.Decimal('7.25')))


def opaque():
    return pick(decimal.Decimal('1.5'), datetime.date(2024, 2, 29), 1 + 2j, range(3))


def unhashable():
    return pick([], [1], {}, {1: 2}, {1}, bytearray(b'a'), (1, []), ({},), {1: 2, 3: [{4}]}, {3.0: [{4}], True: 2},
                {1, 2, 3}, [{1, 2, 3}], [{frozenset([1, 2]): {1: 2, 3: 4}}], [{frozenset([2, 1.0]): {3: 4.0, 1: 2}}])


def value():
    return pick(key, key, key, unhashable, unhashable, 'text', -5, 1e300, [1, [2, 'x']], {'k': (1, None)},
                b'\x00\xff', bytearray(b'xy'))


def anything():
    return pick(value, value, value, value, opaque)


def items():
    return [value() for _ in range(R.randint(0, 4))]


def keys():
    return [key() for _ in range(R.randint(0, 4))]


def numbers():
    return [small() for _ in range(R.randint(0, 5))]


def many():
    return [pick(small, lambda: R.random(), lambda: R.randint(-1000, 1000)) for _ in range(R.randint(60, 300))]


def pairs():
    return [(key(), value()) for _ in range(R.randint(0, 4))]


def mapping():
    return dict(pairs())


def iterable():
    # Sets of one: there is no telling in which order a manager goes over a greater one.
    return pick(keys, keys, lambda: tuple(keys()), lambda: {key()}, lambda: frozenset([key()]), lambda: dict.fromkeys(keys()), 'abc', b'ab', bytearray(b'\x01'), lambda: range(small()),
                5, None, 1.5, items)


def some_set():
    return pick(lambda: set(keys()), lambda: set(keys()), lambda: frozenset(keys()), lambda: iterable())


def for_set():
    return pick(some_set, iterable)


def updates():
    return pick(mapping, mapping, pairs, pairs, lambda: ['ab', 'cd'], lambda: tuple(pairs()), lambda: [1],
                lambda: pairs() + ['abc'], lambda: pairs() + [5], lambda: pairs() + [([], 1)], iterable)


def index():
    return pick(small, small, small, lambda: R.randint(-20, 20), True, 2**70, -2**70, 'x', None, 1.0)


def bound():
    return pick(None, small, small, small, 2**70, -2**70, True, 'x')


def a_slice():
    step = pick(None, None, None, 1, -1, 2, -2, 3, 0, 2**70, 'x')
    return slice(bound(), bound(), step)


def subscript():
    return pick(index, index, a_slice)


def seconds():
    return pick(0, 0, 0.0, 0.001, False)


def bad_seconds():
    return pick('x', [], b'', {}, (1,))


# For each type: what constructs it, and its methods with what makes their arguments. A dict in the place
# of the last argument holds keyword arguments when it is wrapped in Kw.
class Kw(dict):
    pass


def anything_up_to(most):
    return lambda: [anything() for _ in range(R.randint(0, most))]


WRONG = lambda: pick(anything_up_to(4), lambda: [value(), Kw(k=1)], lambda: [Kw(k=value())], list)


def args(*makers):
    return lambda: [maker() if callable(maker) else maker for maker in makers]


def either(*options):
    return lambda: R.choice(options)()


def table(names, makers, default=args()):
    return {name: makers.get(name, default) for name in names.split()}


BLOCK = either(args(False), args(0), args(True, seconds), args(Kw(blocking=False)), args(False, 1),
               args(True, -5), args(True, bad_seconds), args(False, -1), args(False, None), args(1, 2, 3),
               args(Kw(timeout=0)), args(Kw(blocking=True, timeout=0)), args(False, Kw(x=1)),
               args(True, -0.5), args(False, Kw(blocking=False)))
WAIT = either(args(seconds), args(seconds), args(Kw(timeout=0)), args(-1), args(bad_seconds), args(0, 1),
              args(Kw(x=1)), args(0, Kw(timeout=0)))
NOTHING = either(args(), args(), args(), args(), args(), args(1), args(Kw(k=1)), args(1, 2))
NOTIFY = either(args(), args(1), args(small), args(Kw(n=1)), args(1, 2))

TYPES = {
    'dict': (
        either(args(), args(updates), args(updates), args(mapping, Kw(a=1, b=[2])), WRONG),
        table(DICT, {
            '__contains__': args(value), '__delitem__': args(key), '__getitem__': args(key),
            '__ior__': args(updates), '__or__': args(updates), '__ror__': args(updates),
            '__setitem__': args(value, anything), 'fromkeys': either(args(iterable), args(iterable, value)),
            'get': either(args(value), args(key, anything)), 'pop': either(args(value), args(key, value)),
            'setdefault': either(args(value), args(key, anything)),
            'update': either(args(updates), args(updates), args(updates, Kw(x=5)), args(Kw(a=1))),
            '__iter__': args(), 'clear': either(args(), WRONG, WRONG, WRONG),
        }),
    ),
    'set': (
        either(args(), args(iterable), args(keys), args(items), WRONG),
        dict(table(SET, {name: args(for_set) for name in """isdisjoint issubset issuperset
            symmetric_difference symmetric_difference_update""".split()}, args(some_set)), **{
            name: either(args(for_set), args(for_set, for_set), args(), args(items)) for name in
            'difference difference_update intersection intersection_update union update'.split()}, **{
            name: args(value) for name in '__contains__ add discard remove'.split()}, **{
            name: args() for name in '__iter__ __len__ copy pop'.split()},
            clear=either(args(), WRONG, WRONG, WRONG)),
    ),
    'list': (
        either(args(), args(items), args(iterable), args(numbers), WRONG),
        table(LIST, {
            '__add__': args(either(items, iterable)), '__contains__': args(anything),
            '__delitem__': args(subscript), '__getitem__': args(subscript),
            '__iadd__': args(either(items, iterable)),
            '__imul__': either(args(either(lambda: R.randint(-1, 2), 'x'.title)), WRONG),
            '__mul__': args(either(index, index, index, lambda: 2**62)), '__rmul__': args(index),
            '__setitem__': either(args(index, anything), args(a_slice, either(items, iterable))),
            'append': args(anything), 'count': args(anything), 'extend': args(either(items, iterable, many)),
            'index': either(args(value), args(small, index), args(value, index, index)),
            'insert': args(index, anything), 'pop': either(args(), args(index)), 'remove': args(value),
            'sort': either(args(), args(Kw(reverse=True)), args(Kw(reverse=0)), args(Kw(key=None)), WRONG),
            'clear': either(args(), WRONG, WRONG, WRONG),
        }),
    ),
    'Value': (
        either(args('i', value), args('d', value, Kw(lock=False)), args('x', anything), args('i'), args()),
        {'get': NOTHING, 'set': either(args(anything), args(anything), args(Kw(value=1)), WRONG)},
    ),
    'Array': (
        either(args('i', numbers), args('d', lambda: [0.5, 1]), args('b', numbers), args('u', 'abc'),
               args('B', b'abc'), args('q', [2**40]), args('i', iterable), args('x', []), args('i'),
               args('i', numbers, Kw(lock=True)), args(5, []), args('H', [70000]), args('f', [0.1])),
        {'__len__': NOTHING, '__getitem__': either(args(subscript), args(subscript), WRONG),
         '__setitem__': either(args(index, lambda: pick(1, 0.5, 'x', None, 300)), args(index, small), args(small, value),
                               args(a_slice, numbers), WRONG)},
    ),
    'Namespace': (
        either(args(), args(Kw(a=1)), args(Kw(b='x', _c=2, d=[1])), args(1)),
        {'__getattribute__': either(args(lambda: pick('a', 'b', '_c', 'none', 5, '')), WRONG),
         '__setattr__': either(args(lambda: pick('a', 'b', '_c', 'zz', 5), anything), WRONG),
         '__delattr__': either(args(lambda: pick('a', 'b', '_c', 'none', 5)), WRONG)},
    ),
    'Event': (
        either(args(), args(), args(1), args(Kw(x=1))),
        {'is_set': NOTHING, 'set': NOTHING, 'clear': NOTHING, 'wait': WAIT},
    ),
    'Lock': (either(args(), args(), args(), args(1), args(Kw(x=1))),
             {'acquire': BLOCK, 'release': NOTHING, 'locked': NOTHING}),
    'RLock': (either(args(), args(), args()),
              {'acquire': BLOCK, 'release': NOTHING, 'locked': NOTHING}),
    'Semaphore': (
        either(args(), args(lambda: R.randint(-1, 3)), args(Kw(value=2)), args('x'), args(1, 2)),
        {'acquire': BLOCK, 'release': either(NOTHING, args(small), args(Kw(n=2)), args('x'), args(None)),
         'locked': NOTHING},
    ),
    'BoundedSemaphore': (
        either(args(), args(lambda: R.randint(-1, 3)), args(Kw(value=2)), args('x'), args(1, 2)),
        {'acquire': BLOCK, 'release': either(NOTHING, args(small), args(Kw(n=2)), args('x')),
         'locked': NOTHING},
    ),
    'Condition': (
        either(args(), args(), args(None), args(1, 2), args(Kw(x=1))),
        {'acquire': BLOCK, 'release': NOTHING, 'wait': WAIT, 'notify': NOTIFY, 'notify_all': NOTHING,
         'locked': NOTHING},
    ),
    'Barrier': (
        either(args(1), args(2), args(2), args(3, None, 0.001), args(Kw(parties=1)), args(2, Kw(timeout=0)),
               args(), args(1, None, None, None)),
        {'wait': WAIT, 'abort': NOTHING, 'reset': either(NOTHING, args()),
         '__getattribute__': either(args(lambda: pick('parties', 'n_waiting', 'broken', 'none')), WRONG)},
    ),
    'Queue': (
        either(args(), args(), args(lambda: R.randint(-1, 3)), args(Kw(maxsize=2)), args(1, 2), args(Kw(x=1))),
        {'put': either(args(anything, False), args(anything, True, seconds), args(anything, Kw(block=False)),
                       args(anything, True, -1), args(), args(1, False, 0, 5), args(1, Kw(item=2)),
                       args(1, True, 0, Kw(x=1))),
         'put_nowait': either(args(anything), args(anything), args(), args(1, 2)),
         'get': either(args(False), args(True, seconds), args(Kw(block=False)), args(True, -1),
                       args(Kw(timeout=0)), args(False, 1, 2)),
         'get_nowait': NOTHING, 'qsize': NOTHING, 'empty': NOTHING, 'full': NOTHING, 'task_done': NOTHING,
         'join': args(1), 'shutdown': either(args(), args(True), args(1, 2), args(Kw(immediate=False)))},
    ),
}
TYPES['JoinableQueue'] = TYPES['Queue']


def canon(x):
    """A text of a value; sets in order."""
    if isinstance(x, (set, frozenset)):
        return '%s{%s}' % (type(x).__name__, ', '.join(sorted(map(canon, x))))
    if isinstance(x, dict):
        return '{%s}' % ', '.join('%s: %s' % (canon(k), canon(v)) for k, v in x.items())
    if isinstance(x, (list, tuple)):
        return '%s(%s)' % (type(x).__name__, ', '.join(map(canon, x)))
    if isinstance(x, BaseProxy):
        return '<%s>' % type(x).__name__
    return repr(x)


def same(a, b):
    """Whether two results are the same value: of one type, and equal; dicts in the same order."""
    if 'iterator' in type(a).__name__ and 'iterator' in type(b).__name__:
        return same(list(a), list(b))
    if isinstance(a, BaseProxy):
        return type(a).__name__ == type(b).__name__
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


class Failed:
    """A call that raised: the class of the exception, and for people its text."""

    def __init__(self, error):
        self.text = '%s: %s' % (type(error).__name__, error)
        if isinstance(error, RemoteError):
            # The last line of the traceback that names a class; notes and a line of dashes may follow.
            lines = [line for line in str(error).splitlines() if re.match(r'[\w.]+(:|$)', line)]
            self.text = 'RemoteError: ' + (lines or ['unknown'])[-1]
            if 'Unserializable' in str(error):
                self.text = 'RemoteError: Unserializable'
        self.classes = [part for part in self.text.split(': ') if re.fullmatch(r'[\w.]+', part)]
        self.classes = self.classes[:2 if isinstance(error, RemoteError) else 1]

    def __eq__(self, other):
        return self.classes == other.classes

    def __repr__(self):
        return self.text


def outcome(function, *args, **kwargs):
    """The result of a call, or how it failed."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        return Failed(error)


def call_text(method, args, kwargs):
    parts = [canon(arg) for arg in args] + ['%s=%s' % (k, canon(v)) for k, v in kwargs.items()]
    return '%s(%s)' % (method, ', '.join(parts))


# The methods that have done a part when they fail.
PARTIAL = 'sort', 'update', '__ior__', 'difference_update'


class Run:
    def __init__(self, theirs, ours):
        self.managers = theirs, ours
        self.calls = 0

    def differs(self, what, call, theirs, ours):
        if same(theirs, ours):
            return False
        print(*[text.replace('\n', '\\n') for text in (what, call, canon(theirs), canon(ours))], sep='\t')
        return True

    def make(self, typeid, maker):
        """The two objects, or None if they cannot be made."""
        args = maker()
        kwargs = dict(args.pop()) if args and isinstance(args[-1], Kw) else {}
        made = [outcome(getattr(manager, typeid), *args, **kwargs) for manager in self.managers]
        self.calls += 1
        self.differs(typeid, call_text(typeid, args, kwargs), *made)
        return None if any(isinstance(proxy, Failed) for proxy in made) else made

    def sequence(self, typeid, length):
        maker, methods = TYPES[typeid]
        proxies = self.make(typeid, maker)
        if proxies is None:
            return
        exposed = set(proxies[0]._exposed_)
        names = [name for name in methods if name in exposed]
        wrong = typeid in ('dict', 'set', 'list')
        iterators = []
        for _ in range(length):
            if iterators and R.random() < 0.3:
                self.next(iterators)
                continue
            name = R.choice(names)
            maker = WRONG if wrong and R.random() < 0.07 else methods[name]
            args = maker()
            kwargs = dict(args.pop()) if args and isinstance(args[-1], Kw) else {}
            if typeid == 'set' and name == 'pop' and not args and len(proxies[0]._getvalue()) > 1:
                continue
            self.calls += 1
            results = [outcome(proxy._callmethod, name, args, kwargs) for proxy in proxies]
            if typeid == 'set' and name == '__iter__':
                # A set is in no order.
                results = [result if isinstance(result, Failed) else set(result) for result in results]
            text = call_text(name, args, kwargs)
            differs = self.differs(typeid + '.' + name, text, *results)
            failed = [isinstance(result, Failed) for result in results]
            if failed[0] and name in PARTIAL:
                # Python leaves what was done before the failure.
                return
            if differs and len(set(failed)) > 1:
                # From here on they are in different states.
                return
            if name == '__iter__' and typeid == 'dict' and isinstance(results[0], BaseProxy):
                iterators = iterators[-2:] + [results]
            if differs or R.random() < 0.3:
                if self.compare(typeid, text, proxies):
                    return
        self.compare(typeid, 'in the end', proxies)

    def next(self, iterators):
        pair = R.choice(iterators)
        method = R.choice(['__next__'] * 9 + ['send', 'throw', 'close'])
        args = WRONG() if R.random() < 0.05 else []
        kwargs = dict(args.pop()) if args and isinstance(args[-1], Kw) else {}
        self.calls += 1
        results = [outcome(proxy._callmethod, method, args, kwargs) for proxy in pair]
        self.differs('Iterator.' + method, call_text(method, args, kwargs), *results)

    def compare(self, typeid, after, proxies):
        """Whether the objects differ; prints it if they, or their texts, do."""
        values = [outcome(proxy._getvalue) for proxy in proxies]
        self.calls += 1
        if typeid in ('Value', 'Namespace'):
            values = [sorted(vars(value).items()) for value in values]
        if self.differs(typeid, 'value after ' + after, *values):
            return True
        if typeid in ('dict', 'list', 'Value', 'Array', 'Namespace'):
            self.differs(typeid, 'str() after ' + after, *map(str, proxies))
        return False


def main():
    address, authkey, seed, calls, *types = sys.argv[1:]
    host, port = address.rsplit(':', 1)
    own = Both(authkey=authkey.encode(), ctx=multiprocessing.get_context('fork'))
    own.start()
    multiprocessing.current_process().authkey = authkey.encode()
    ours = Both((host, int(port)), authkey=authkey.encode())
    ours.connect()
    total = 0
    for typeid in types or TYPES:
        R.seed('%s %s' % (seed, typeid))
        run = Run(own, ours)
        while run.calls < int(calls):
            run.sequence(typeid, 40)
        total += run.calls
    print(total, 'calls')
    own.shutdown()


if __name__ == '__main__':
    main()
