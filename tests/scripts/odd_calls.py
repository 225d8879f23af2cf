"""Calls that hardly a program makes, and that CPython's managers take: of the manager at ADDRESS, or of
CPython's own, if none is given."""

import sys
from multiprocessing import current_process
from multiprocessing.managers import SyncManager


class Node:
    def __init__(self):
        self.children = []
        self.parent = self


def raises(kind, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError('%s did not raise %s' % (call, kind))


def refused(here, why, call, *args, **kwargs):
    if here:
        assert why in str(raises(Exception, call, *args, **kwargs))
    else:
        call(*args, **kwargs)


def main(address=None, key='key'):
    current_process().authkey = key.encode()
    if address is None:
        m = SyncManager(authkey=key.encode())
        m.start()
    else:
        host, port = address.rsplit(':', 1)
        m = SyncManager((host, int(port)), key.encode())
        m.connect()

    # What holds itself, in what is opened.
    cycle = []
    cycle.append(cycle)
    nodes = m.list([Node(), cycle, 7])
    assert len(nodes) == 3 and nodes[2] == 7
    node, back = nodes[0], nodes[1]
    assert node.parent is node and back[0] is back
    assert m.dict({'a': cycle})['a'][0][0] != 7
    nodes.extend([Node()])
    assert nodes[3].parent.children == []
    # Of so many, some begin with a frame.
    family = m.list([Node() for _ in range(5000)])
    assert len(family) == 5000 and family[4999].parent.children == []

    one, other = Node(), Node()
    one.parent, other.parent = other, one
    nodes.append(one)
    assert nodes[-1].parent.parent.children == []
    refused(address, 'items that hold one another', m.list, [one, other])

    # What passes a limit is kept unopened, and found again.
    huge = 10**5000
    keys, values = m.dict(), m.list()
    keys[huge] = 1
    assert keys[huge] == 1 and huge in keys and keys.get(huge) == 1 and keys.pop(huge) == 1
    raises(KeyError, keys.__getitem__, huge)
    values.append(huge)
    assert values.count(huge) == 1 and values.index(huge) == 0 and huge in values
    values.remove(huge)
    assert len(values) == 0

    # Many arguments.
    many = {'key%d' % number: number for number in range(1000)}
    assert m.dict(**many).copy() == many
    space = m.Namespace(**many)
    assert space.key999 == 999
    keys.update(**many)
    assert len(keys) == 1000
    assert '1000' in str(raises(TypeError, values._callmethod, 'append', tuple(range(1000))))
    values._callmethod('append', [many])
    assert values[0] == many

    # What is taken by CPython alone is refused by name, and does nothing.
    arguments = ([],)
    arguments[0].append(arguments)
    refused(address, 'args must be a tuple', values._callmethod, 'append', arguments)
    assert len(values) == (1 if address else 2)
    refused(address, 'keyword names must be str', m.dict, **{'\udc80': 1})
    refused(address, 'keyword names must be str', keys.update, **{'\udc80': 1})
    assert len(keys) == (1000 if address else 1001)
    if address is None:
        m.shutdown()
    print('ended')


if __name__ == '__main__':
    main(*sys.argv[1:])
