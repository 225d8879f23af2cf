"""Small calls that would make much, of the manager at ADDRESS: prints what each raises. Then honest
calls, which raise nothing."""

import sys
from multiprocessing import current_process
from multiprocessing.managers import MakeProxyType, SyncManager

SET = MakeProxyType('SetProxy', ['__contains__', '__len__', 'union', 'update'])
DICT = MakeProxyType('DictProxy', ['__len__', 'fromkeys', 'update'])
SyncManager.register('set', set, SET)
SyncManager.register('dict', dict, DICT)

MANY = range(10**7)
NOTHING = [None] * (4 * 10**6)
CALLS = """
m.list(MANY); m.set(MANY); m.Array('b', MANY); m.Array('B', bytes(10**7))
l.extend(MANY); l.__iadd__(MANY); l.__setitem__(slice(0, 0), MANY); l.__imul__(10**7); l.__mul__(10**7)
l.__imul__(2**62); s.update(MANY); s.union(MANY); s.update((), MANY); d.fromkeys(MANY)
d.fromkeys(range(10**3), 'x' * 10**5); l.extend(big); l.__iadd__(big); big.extend(big); s.union(big)
d.fromkeys(big); q.put_many(NOTHING)
"""


def main():
    address, key = sys.argv[1:]
    host, port = address.rsplit(':', 1)
    current_process().authkey = key.encode()
    m = SyncManager((host, int(port)), key.encode())
    m.connect()
    l, s, d, q = m.list([1, 2]), m.set([1]), m.dict({1: 2}), m.Queue()
    # A container may grow by and by to more than one call could make.
    big = m.list()
    for _ in range(8):
        big.extend(range(10**5))
    names = {'m': m, 'l': l, 's': s, 'd': d, 'q': q, 'big': big, 'MANY': MANY, 'NOTHING': NOTHING}
    for call in filter(None, map(str.strip, CALLS.replace('\n', ';').split(';'))):
        try:
            eval(call, names)
            print(call, 'was carried out', sep='\t')
        except Exception as error:
            print(call, ' '.join(str(error).split()), type(error).__name__, sep='\t')
    assert (l._getvalue(), len(s), len(d), len(big)) == ([1, 2], 1, 1, 800000), 'a refused call changed something'

    shared = list(range(60000))
    assert len(m.list([shared] * 5)) == 5
    l *= 10**5
    l.extend('ab' * 10**4)
    assert len(l) == 220000
    assert len(m.set(range(10**5))) == 10**5
    assert len(d.fromkeys(range(1000), 'x')) == 1000
    assert q.empty() and q.put_many([None] * 10**5) == 10**5
    print('honest calls went well')


main()
