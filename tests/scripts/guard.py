"""What CPython does with the pickles that the guard decides about.

python guard.py run          for each line `PICKLE MARKER` (in hex, a path): unpickles it as a manager does, in a process of
                             its own, and prints what it did: `ran` if the marker exists now, and the names that it
                             looked up and the addresses that it connected to
python guard.py judge PLACES for each line `PICKLE` that the guard has passed: `+` if CPython does nothing but what the guard
                             allows, or what it does
python guard.py forms PLACES prints the pickles, in hex, that clients of a manager send: a line each, after its name
python guard.py serve KEY    a manager of its own, until the end of its input
python guard.py send ADDRESS KEY
                             for each line `PICKLE` sends it as the first request of a connection, and then another; prints the
                             kinds of the replies, or `closed`
python guard.py traffic FILE runs CPython's own tests of its managers, and writes `address PLACE` and `request PICKLE` lines

PLACES are the addresses of the manager, as HOST:PORT or as paths.
"""

import json
import os
import pickle
import sys
import types
from multiprocessing import managers


def address(place):
    if '/' in place or place.startswith('\0'):
        return place
    host, port = place.rsplit(':', 1)
    return host, int(port)


def run():
    """In each child, what a hostile pickle may do is recorded, and done."""
    import copyreg
    copyreg.add_extension('os', 'mkdir', 240)
    events = []

    def audit(event, args):
        if event == 'pickle.find_class':
            events.append('.'.join(args))
        elif event == 'socket.connect':
            events.append('connect {}'.format(args[1]))
    sys.addaudithook(audit)
    for line in sys.stdin:
        code, marker = line.split()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                from multiprocessing.reduction import ForkingPickler
                events.clear()
                result = 'ok'
                try:
                    ForkingPickler.loads(bytes.fromhex(code))
                except BaseException as error:
                    result = type(error).__name__
                os.write(writing, json.dumps([result, *events]).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading, 'rb') as pipe:
            said = pipe.read().decode() or '"crashed"'
        os.waitpid(child, 0)
        print('ran' if os.path.exists(marker) else 'not', said, flush=True)
        if os.path.exists(marker):
            os.rmdir(marker)


class Violation(BaseException):
    pass


PROXY_TYPES = [
    'AcquirerProxy', 'ArrayProxy', 'BarrierProxy', 'ConditionProxy', 'DictProxy', 'EventProxy', 'IteratorProxy', 'ListProxy',
    'NamespaceProxy', 'PoolProxy', 'SetProxy', 'ValueProxy']
KNOWN = {
    'multiprocessing.managers': {'RebuildProxy', 'AutoProxy', 'Token', *PROXY_TYPES},
    '_codecs': {'encode'},
    'builtins': {'set', 'frozenset', 'bytes', 'bytearray', 'slice', 'range'},
    '__builtin__': {'set', 'frozenset', 'bytes', 'bytearray', 'slice', 'range', 'xrange'},
}


def judge(places):
    """Unpickles with modules that check each call, and a hook that raises for every other name."""
    places = [address(place) for place in places]
    places += [place.encode() for place in places if type(place) is str]
    found = []

    def violation(*what):
        found.append(' '.join(map(str, what)))
        raise Violation

    def audit(event, args):
        if event == 'pickle.find_class' and args[1] not in KNOWN.get(args[0], ()):
            violation('looks up', *args)
    sys.addaudithook(audit)

    class Called(type):
        """A class that may be called, but not made in another way, nor changed."""

        def __call__(cls, *args, **kwargs):
            if kwargs:
                violation(cls, 'has keywords')
            return cls.called(*args)

        def __setattr__(cls, name, value):
            violation(cls, 'is changed')

    def known(name, check):
        def never(*_, **__):
            violation('__new__ of', name)
        return Called(name, (), {'called': staticmethod(check), '__new__': never})

    class Proxy:
        """What a proxy must not be used for."""
        append = extend = add = __setitem__ = __setstate__ = lambda *_: violation('a proxy is filled')

    class Token:
        __slots__ = 'state', 'count'

        def __new__(cls, *args):
            if args:
                violation('a token has arguments')
            self = object.__new__(cls)
            self.state, self.count = None, 0
            made.append(self)
            return self

        def __init__(self, *args):
            violation('a token is called')

        def __setstate__(self, state):
            typeid, place, ident = state
            if (type(state), type(typeid), type(ident)) != (tuple, str, str):
                violation('a token has the state', state)
            self.state, self.count = state, self.count + 1
            # Of True, which is 1, and 1.0, there is no port.
            if place not in places or type(place) is tuple and [type(part) for part in place] != [str, int]:
                violation('a token has the address', place)
            if self.count > 1:
                violation('a token changes')

    made = []
    calls = []

    def rebuild(*args):
        if len(args) != 4:
            violation('RebuildProxy has', len(args), 'arguments')
        kind, token, serializer, keywords = args
        if type(token) is not Token or not token.count or serializer != 'pickle' or type(keywords) is not dict:
            violation('RebuildProxy has the arguments', args)
        if kind is auto:
            names = keywords.get('exposed')
            ascii = type(names) is tuple and all(
                type(name) is str and name.isidentifier() and name.isascii() for name in names)
            if list(keywords) != ['exposed'] or not ascii:
                violation('AutoProxy has the keywords', keywords)
        elif kind not in kinds or keywords:
            violation('RebuildProxy makes', kind, 'with', keywords)
        calls.append((keywords, dict(keywords)))
        return Proxy()

    def one(kind, *forms):
        def check(*args):
            if not any(form(*args) for form in forms if form.__code__.co_argcount == len(args)):
                violation(kind, 'has the arguments', args)
            return kind(*args)
        return known(kind.__name__, check)

    def integer(value):
        return type(value) is int

    def part(value):
        return value is None or integer(value)

    auto = known('AutoProxy', lambda *args: violation('AutoProxy is called'))
    kinds = [known(name, lambda *args: violation('a proxy type is called')) for name in PROXY_TYPES]
    import _codecs
    encode = _codecs.encode

    def check_encode(*args):
        if len(args) != 2 or type(args[0]) is not str or args[1] != 'latin1':
            violation('encode has the arguments', args)
        return encode(*args)
    shams = {
        'multiprocessing.managers': dict(
            {kind.__name__: kind for kind in kinds}, RebuildProxy=known('RebuildProxy', rebuild), AutoProxy=auto, Token=Token),
        '_codecs': {'encode': known('encode', check_encode)},
        'builtins': {
            'set': one(set, lambda a: type(a) is list),
            'frozenset': one(frozenset, lambda a: type(a) is list),
            'bytes': one(bytes, lambda: True),
            'bytearray': one(bytearray, lambda: True, lambda a: type(a) is bytes,
                             lambda a, b: type(a) is str and b == 'latin-1'),
            'slice': one(slice, lambda a, b, c: part(a) and part(b) and part(c)),
            'range': one(range, lambda a, b, c: integer(a) and integer(b) and integer(c)),
        },
    }
    modules = {}
    for name, content in shams.items():
        modules[name] = types.ModuleType(name)
        modules[name].__dict__.update(content)
    own = [*kinds, auto, Token, *(value for content in shams.values() for value in content.values())]

    def search(root):
        """No class or function may be left as a value."""
        seen, todo = set(), [root]
        while todo:
            value = todo.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            if any(value is known for known in own) or isinstance(value, (type, types.FunctionType)):
                violation('a value is', value)
            if type(value) is dict:
                todo += [*value, *value.values()]
            elif type(value) in (list, tuple, set, frozenset):
                todo += value

    real = {name: sys.modules[name] for name in modules}
    loads = pickle.loads
    for line in sys.stdin:
        code = bytes.fromhex(line)
        found.clear(), made.clear(), calls.clear()
        sys.modules.update(modules)
        try:
            root = loads(code)
        except (Violation, Exception):
            failed = True
        else:
            failed = False
        finally:
            sys.modules.update(real)
        try:
            if not failed:
                search(root)
                if any(token.count != 1 for token in made):
                    violation('a token has no state')
            if any(keywords != before for keywords, before in calls):
                violation('keywords change')
        except Violation:
            pass
        print(found[0].replace('\n', ' ') if found else '+', flush=True)


def forms(places):
    exposed = 'get', 'put', 'qsize', '__len__', '_private', 'x2'
    for place in places:
        token = managers.Token('Queue', address(place), '7f0123456789')
        made = [('token', token), ('get_methods', (None, 'get_methods', (token,), {}))]
        auto = managers.AutoProxy(token, 'pickle', authkey=b'key', exposed=exposed, incref=False)
        made.append(('AutoProxy', auto))
        for name in PROXY_TYPES:
            # SetProxy is new in 3.14.
            if hasattr(managers, name):
                proxy = getattr(managers, name)(token, 'pickle', authkey=b'key', incref=False)
                made.append((name, proxy))
        proxies = [proxy for name, proxy in made[2:]]
        made += [
            ('put', ('7f', 'put', (auto,), {})),
            ('put twice', ('7f', 'put', ([auto, auto],), {'block': auto})),
            ('create', (None, 'create', ('list', proxies), {})),
            ('nested', ('7f', 'append', ({'a': [proxies, {1: (auto, token)}]},), {})),
            ('append', ('7f', 'append', (proxies[1],), {})),
            ('key', ('7f', '__setitem__', (token.id, frozenset(proxies)), {})),
        ]
        recursive = [auto]
        recursive.append((recursive,))
        data = [
            None, True, 1, -1, 2**40, 2**3000, 1.5, 'text', 'é\ud800', b'', b'bytes' * 99, bytearray(), bytearray(b'a\xff'),
            (), (1,), (1, 2, 3, 4), [], list(range(3000)), {}, {1: 2}, set(), {1, 'a'}, frozenset(), frozenset('ab'),
            slice(1, None, 2), slice(None), range(3), range(0, -9, -2), recursive, 'x' * 200000, ['a'] * 2000,
            [('key%d' % n, n) for n in range(3000)]]
        made += [(repr(value)[:30], ('7f', 'put', (value,), {})) for value in data]
        made.append(('all', ('7f', 'put', (data, proxies), {'timeout': 1.5})))
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            for name, value in made:
                for dumps in pickle.dumps, pickle._dumps:
                    if dumps is pickle._dumps and protocol > 3 and len(repr(value)) > 100000:
                        continue
                    print(protocol, name.replace(' ', '_').replace('\n', ''), dumps(value, protocol).hex())
    print('end', flush=True)


def serve(key):
    import copyreg
    import multiprocessing
    import threading
    copyreg.add_extension('os', 'mkdir', 240)
    multiprocessing.current_process().authkey = key.encode()
    server = managers.SyncManager(('127.0.0.1', 0), key.encode()).get_server()
    print('listening on 127.0.0.1:{}'.format(server.address[1]), flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


def send(place, key):
    from multiprocessing.connection import Client
    for line in sys.stdin:
        said = []
        with Client(address(place), authkey=key.encode()) as connection:
            for request in bytes.fromhex(line), pickle.dumps((None, 'dummy', (), {})):
                try:
                    connection.send_bytes(request)
                    said.append(connection.recv()[0])
                except (EOFError, OSError):
                    said.append('closed')
        print(*said, flush=True)


def traffic():
    import multiprocessing
    import tempfile
    import unittest
    from multiprocessing import connection, reduction
    multiprocessing.set_start_method('fork')
    try:
        from test import _test_multiprocessing as suite
    except ImportError:
        print('no tests')
        return
    log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    send = connection.Connection.send

    def record(self, obj):
        if type(obj) is tuple and len(obj) == 4 and type(obj[3]) is dict:
            code = bytes(reduction.ForkingPickler.dumps(obj))
            os.write(log, 'request {}\n'.format(code.hex()).encode())
        send(self, obj)
    connection.Connection.send = record
    start = managers.BaseManager.start

    def started(self, *args, **kwargs):
        start(self, *args, **kwargs)
        place = self.address if isinstance(self.address, str) else '{}:{}'.format(*self.address)
        os.write(log, 'address {}\n'.format(place).encode())
    managers.BaseManager.start = started
    names = {'__name__': 'guard'}
    suite.install_tests_in_module_dict(names, 'fork')
    tests = unittest.TestSuite()
    for name, cls in sorted(names.items()):
        if name.startswith('WithManager') and not any(skipped in name for skipped in ('MyManager', 'Connection', 'Heap')):
            tests.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(cls))
    with tempfile.TemporaryDirectory() as directory, open(os.devnull, 'w') as nowhere:
        os.chdir(directory)
        result = unittest.TextTestRunner(stream=nowhere).run(tests)
        os.chdir('/')
    print(result.testsRun, 'tests')


if __name__ == '__main__':
    mode, *rest = sys.argv[1:]
    modes = {'run': run, 'judge': lambda: judge(rest), 'forms': lambda: forms(rest), 'traffic': traffic}
    modes.update(serve=lambda: serve(*rest), send=lambda: send(*rest))
    modes[mode]()
