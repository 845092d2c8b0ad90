"""Our own reader of pickles, which never imports or calls anything by itself.

A pickle is a program for a stack machine. `PickleMachine` runs its data opcodes; whatever a pickle
wants looked up, called or built goes through four methods that a subclass defines. Nothing here
recurses, and nothing allocates more than the pickle's own bytes call for.
"""

import codecs
import struct
from collections import OrderedDict
from pickle import UnpicklingError

codecs.lookup("raw-unicode-escape")  # so that no pickle makes Python import it
_MARK = object()

# So many items may a tuple hold that serves as a key: hashing recurses, shared parts count anew.
_KEY_BUDGET = 1000


def _bad(why):
    return UnpicklingError(f"WeightsUnpickler error: {why}")


class PickleMachine:
    """Reads one pickle from `data`, starting at `position`; `end` is where it stopped."""

    def __init__(self, data, position=0, encoding="utf-8"):
        self.data = data
        self.position = self.end = position
        self.encoding = encoding
        self.stack = []
        self.memo = {}

    # -- what a pickle can ask for: a subclass decides -----------------------

    def find_global(self, module, name):
        raise NotImplementedError

    def call(self, function, args):
        raise NotImplementedError

    def new(self, cls, args, kwargs):
        raise NotImplementedError

    def build(self, instance, state):
        raise NotImplementedError

    def persistent(self, pid):
        raise NotImplementedError

    # -- reading -------------------------------------------------------------

    def load(self):
        data, handlers = self.data, _HANDLERS
        size = len(data)
        try:
            while True:
                if self.position >= size:
                    raise EOFError("Ran out of input")
                opcode = data[self.position]
                self.position += 1
                if opcode == 0x2E:  # STOP
                    break
                handler = handlers.get(opcode)
                if handler is None:
                    raise _bad(f"Unsupported operand {opcode}")
                handler(self)
            self.end = self.position
            value = self._pop()
            if self.stack:
                raise _bad("the pickle leaves something on its stack")
            return value
        except (UnpicklingError, EOFError):
            raise
        except (struct.error, IndexError):
            raise _bad("the pickle ends early or is damaged") from None
        except (ValueError, TypeError, KeyError, OverflowError, UnicodeError) as error:
            raise _bad(f"{error}") from error

    def _take(self, count):
        start = self.position
        if count < 0 or start + count > len(self.data):
            raise EOFError("pickle data was truncated")
        self.position = start + count
        return bytes(self.data[start : start + count])

    def _unpack(self, layout):
        (value,) = layout.unpack_from(self.data, self.position)
        self.position += layout.size
        return value

    def _line(self):
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise EOFError("pickle data was truncated")
        line = bytes(self.data[self.position : end])
        self.position = end + 1
        return line

    def _pop(self):
        if not self.stack or self.stack[-1] is _MARK:
            raise _bad("the pickle takes more from its stack than it put there")
        return self.stack.pop()

    def _top(self):
        if not self.stack or self.stack[-1] is _MARK:
            raise _bad("the pickle takes more from its stack than it put there")
        return self.stack[-1]

    def _pop_mark(self):
        """Everything above the last mark."""
        stack = self.stack
        at = len(stack) - 1
        while at >= 0 and stack[at] is not _MARK:
            at -= 1
        if at < 0:
            raise _bad("the pickle lacks a mark")
        items = stack[at + 1 :]
        del stack[at:]
        return items

    # -- groups of opcodes ---------------------------------------------------

    def _append(self, items):
        target = self._top()
        if type(target) is not list:
            raise _bad(f"Can only append to lists, but got {type(target)}")
        target.extend(items)

    def _set_items(self, items):
        if len(items) % 2:
            raise _bad("a key lacks its value")
        target = self._top()
        if not isinstance(target, dict):
            raise _bad(f"Can only set items of dicts, but got {type(target)}")
        for i in range(0, len(items), 2):
            check_key(items[i])
            target[items[i]] = items[i + 1]

    def _add_items(self, items):
        target = self._top()
        if type(target) is not set:
            raise _bad(f"Can only add items to sets, but got {type(target)}")
        for item in items:
            check_key(item)
        target.update(items)

    def _get(self, index):
        try:
            self.stack.append(self.memo[index])
        except KeyError:
            raise _bad(f"Memo value not found at index {index}") from None

    def _decoded(self, raw):
        return raw if self.encoding == "bytes" else raw.decode(self.encoding)


def check_key(key):
    """Refuses keys whose hash would recurse deeply or run long."""
    if type(key) is not tuple:
        return
    pending, budget = [key], _KEY_BUDGET
    while pending:
        item = pending.pop()
        if type(item) is tuple:
            budget -= len(item) + 1
            if budget < 0:
                raise _bad("a tuple is too large to be a key")
            pending.extend(item)


def _dict_of(items):
    if len(items) % 2:
        raise _bad("a key lacks its value")
    for key in items[::2]:
        check_key(key)
    return dict(zip(items[::2], items[1::2], strict=True))


def _frozenset_of(items):
    for item in items:
        check_key(item)
    return frozenset(items)


_U1, _U2, _U4, _U8 = (struct.Struct("<" + c) for c in "BHIQ")
_I4, _F8 = struct.Struct("<i"), struct.Struct(">d")


def _counted(layout, convert):
    """Pushes `convert(machine, bytes)` of as many bytes as the number before them says."""

    def handler(m):
        m.stack.append(convert(m, m._take(m._unpack(layout))))

    return handler


def _push(make):
    def handler(m):
        m.stack.append(make())

    return handler


def _number(layout):
    def handler(m):
        m.stack.append(m._unpack(layout))

    return handler


def _text_number(m):
    line = m._line()
    m.stack.append({b"00": False, b"01": True}.get(line) if line in (b"00", b"01") else int(line))


def _text_long(m):
    m.stack.append(int(m._line().rstrip(b"L")))


def _long(layout):
    def handler(m):
        m.stack.append(int.from_bytes(m._take(m._unpack(layout)), "little", signed=True))

    return handler


def _quoted(m):
    line = m._line()
    if len(line) < 2 or line[0] != line[-1] or line[:1] not in (b"'", b'"') or b"\\" in line:
        raise _bad("a string is damaged")
    m.stack.append(m._decoded(line[1:-1]))


def _tuple(count):
    def handler(m):
        items = [m._pop() for _ in range(count)]
        m.stack.append(tuple(reversed(items)))

    return handler


def _marked(convert):
    def handler(m):
        items = m._pop_mark()
        m.stack.append(convert(items))

    return handler


def _global(m):
    module, name = m._line().decode(), m._line().decode()
    m.stack.append(m.find_global(module, name))


def _stack_global(m):
    name, module = m._pop(), m._pop()
    if type(name) is not str or type(module) is not str:
        raise _bad("a global is not named by strings")
    m.stack.append(m.find_global(module, name))


def _reduce(m):
    args, function = m._pop(), m._pop()
    if type(args) is not tuple:
        raise _bad("the arguments of a call are no tuple")
    m.stack.append(m.call(function, args))


def _new(m):
    args, cls = m._pop(), m._pop()
    m.stack.append(m.new(cls, args, {}))


def _new_ex(m):
    kwargs, args, cls = m._pop(), m._pop(), m._pop()
    m.stack.append(m.new(cls, args, kwargs))


def _build(m):
    state = m._pop()
    m.build(m._top(), state)


def _put(index):
    def handler(m):
        m.memo[index(m)] = m._top()

    return handler


def _get(index):
    def handler(m):
        m._get(index(m))

    return handler


def _pop_one(m):
    if not m.stack:
        raise _bad("the pickle takes more from its stack than it put there")
    m.stack.pop()


def _items(method, count=None):
    def handler(m):
        if count is None:
            items = m._pop_mark()
        else:
            items = [m._pop() for _ in range(count)][::-1]
        getattr(m, method)(items)

    return handler


def _protocol(m):
    version = m._unpack(_U1)
    if version > 5:
        raise _bad(f"unsupported pickle protocol: {version}")


def _index(layout):
    return lambda m: m._unpack(layout)


def _text_index(m):
    return int(m._line())


def _raw(m, data):
    return data


def _text(m, data):
    return data.decode("utf-8", "surrogatepass")


def _old_string(m, data):
    return m._decoded(data)


def _bytearray(m, data):
    return bytearray(data)


_HANDLERS = {
    ord(code): handler
    for code, handler in {
        "\x80": _protocol,
        "\x95": lambda m: m._unpack(_U8),  # a frame, which tells how much to read ahead
        "(": _push(lambda: _MARK),
        "0": _pop_one,
        "1": lambda m: m._pop_mark(),
        "2": lambda m: m.stack.append(m._top()),
        "N": _push(lambda: None),
        "\x88": _push(lambda: True),
        "\x89": _push(lambda: False),
        "]": _push(list),
        "}": _push(dict),
        ")": _push(tuple),
        "\x8f": _push(set),
        "K": _number(_U1),
        "M": _number(_U2),
        "J": _number(_I4),
        "G": _number(_F8),
        "I": _text_number,
        "L": _text_long,
        "F": lambda m: m.stack.append(float(m._line())),
        "\x8a": _long(_U1),
        "\x8b": _long(_I4),
        "X": _counted(_U4, _text),
        "\x8c": _counted(_U1, _text),
        "\x8d": _counted(_U8, _text),
        "V": lambda m: m.stack.append(m._line().decode("raw-unicode-escape")),
        "U": _counted(_U1, _old_string),
        "T": _counted(_I4, _old_string),
        "S": _quoted,
        "C": _counted(_U1, _raw),
        "B": _counted(_U4, _raw),
        "\x8e": _counted(_U8, _raw),
        "\x96": _counted(_U8, _bytearray),
        "t": _marked(tuple),
        "\x85": _tuple(1),
        "\x86": _tuple(2),
        "\x87": _tuple(3),
        "l": _marked(list),
        "d": _marked(_dict_of),
        "\x91": _marked(_frozenset_of),
        "a": _items("_append", 1),
        "e": _items("_append"),
        "s": _items("_set_items", 2),
        "u": _items("_set_items"),
        "\x90": _items("_add_items"),
        "q": _put(_index(_U1)),
        "r": _put(_index(_U4)),
        "p": _put(_text_index),
        "\x94": _put(lambda m: len(m.memo)),
        "h": _get(_index(_U1)),
        "j": _get(_index(_U4)),
        "g": _get(_text_index),
        "c": _global,
        "\x93": _stack_global,
        "R": _reduce,
        "\x81": _new,
        "\x92": _new_ex,
        "b": _build,
        "Q": lambda m: m.stack.append(m.persistent(m._pop())),
        "P": lambda m: m.stack.append(m.persistent(m._line().decode())),
    }.items()
}


# -- reading without doing anything --------------------------------------------


class PlainMachine(PickleMachine):
    """Reads a pickle of plain data: one that names anything is refused."""

    def _refuse(self, *args):
        raise _bad("a pickle that should be plain data is not")

    find_global = call = new = build = persistent = _refuse


class _Nothing:
    """Stands for whatever a pickle would have looked up, called or built."""


class PickleScanner(PickleMachine):
    """Runs through a pickle and notes the globals and persistent ids it names."""

    def __init__(self, data, position=0, encoding="latin-1"):
        super().__init__(data, position, encoding)
        self.globals = OrderedDict()
        self.storages = []

    def find_global(self, module, name):
        full = f"{module}.{name}"
        return self.globals.setdefault(full, Named(full))

    def call(self, function, args):
        return _Nothing()

    def new(self, cls, args, kwargs):
        return _Nothing()

    def build(self, instance, state):
        pass

    def persistent(self, pid):
        self.storages.append(pid)
        return _Nothing()

    def _append(self, items):
        if type(self._top()) is list:
            super()._append(items)

    def _set_items(self, items):
        pass

    def _add_items(self, items):
        pass


class Named(_Nothing):
    def __init__(self, name):
        self.name = name
