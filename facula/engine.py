"""Evaluation: the only room that knows every stage from the tape to buffers."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from facula import config
from facula.graph.bounds import report
from facula.graph.reference import BadIndex, Failed
from facula.graph.tape import ENGINE, LEAF, LOCAL, Storage, Tape, next_seq
from facula.schedule.cutting import Cutting
from facula.schedule.lower import decode
from facula.schedule.pieces import CannotCut, Pieces
from facula.schedule.plan import Plan, build_plan

_plans: dict[tuple, Plan] = {}
_lock = threading.RLock()
_HOME = str(Path(__file__).parent)

# references that a comprehension over a list sees for an object that nobody else refers to
_UNREFERENCED = [sys.getrefcount(x) for x in [object()]][0]  # noqa: RUF015


# a loop in which values decide on sizes has a new long tape every time, or nearly
LONG = 400  # elements of a tape's key
NEW_IN_A_ROW = 8  # long tapes; each that comes again takes off half of one
AGAIN = 16_384  # evaluations after which whole tapes are tried again


class Counters:
    """What the engine did; tests assert on it."""

    plans_built = 0
    plans_run = 0
    tapes_cut = 0


def _note(new: bool, length: int) -> None:
    """Notes whether tapes of some length come again: see `ENGINE.varying`."""
    if ENGINE.varying:
        ENGINE.varying -= 1
        ENGINE.cuts.append(next_seq())
    elif length > LONG:
        ENGINE.new_in_a_row = max(ENGINE.new_in_a_row + (1.0 if new else -0.5), 0.0)
        if ENGINE.new_in_a_row >= NEW_IN_A_ROW:
            ENGINE.varying, ENGINE.new_in_a_row = AGAIN, NEW_IN_A_ROW / 2


def live_entries(values: list[Storage | None]) -> tuple[bool, ...]:
    """Which entries somebody outside the tape still refers to."""
    count = sys.getrefcount
    return tuple([s is not None and count(s) > _UNREFERENCED for s in values])


def flush(tape: Tape) -> None:
    """Evaluates everything on a tape; live storages get their buffers."""
    with _lock:
        if tape.watch is not None:
            tape.watch.evaluated()
        if tape.home["tape"] is tape:  # also where another thread asks for a value
            tape.home["tape"] = Tape(tape.home, tape.grad, tape.born)
        if not tape.key:
            return
        count = sys.getrefcount
        values = tape.values
        live = live_entries(values)
        free = tuple([count(b) <= _UNREFERENCED for b in tape.leaves])
        key = (tuple(tape.key), live, free)
        plan = _plans.get(key)
        _note(plan is None, len(tape.key))
        in_pieces = Cutting.tries(plan is None, tape.key)
        if plan is None:
            plan = _new_plan(key, tape, in_pieces)
        Counters.plans_run += 1
        try:
            results = plan.run(tape.leaves, tape.scalars)
        except Failed as failed:
            _recover(tape, live, failed.entry)
            error = failed.__cause__
            if isinstance(error, BadIndex):
                error = _bad_index(tape, error, failed.entry)
            elif error is not None and (where := _line(tape, failed.entry)):
                error.add_note(where)
            raise error from None  # type: ignore[misc]
        except BaseException:
            _give_up(tape)
            raise
        _store(tape, results)
        tape.key, tape.values = [], []
        tape.leaves, tape.scalars, tape.rebound = [], [], []


def _new_plan(key: tuple, tape: Tape, in_pieces: bool) -> Plan:
    """The plan for a tape that was not evaluated before."""
    text, scalars = tape.key, list(tape.scalars)
    _, live, free = key
    built = 0

    def whole() -> Plan:
        return _build(key, text, scalars)

    def of_piece(part: list[Any], live: tuple, free: tuple, numbers: list[Any]) -> Plan:
        nonlocal built
        found = _plans.get((tuple(part), live, free))
        if found is None:
            built += len(part)
            found = _build((tuple(part), live, free), part, numbers)
        return found

    if not in_pieces:
        return whole()
    try:
        plan = _plans[key] = Pieces(text, live, free, scalars, of_piece, whole)
    except CannotCut:
        return whole()
    Cutting.note(built, sum(len(piece.key) for piece in plan.pieces))
    Counters.tapes_cut += 1
    return plan


def _build(key: tuple, text: list[Any], scalars: list[Any]) -> Plan:
    if len(_plans) >= config.MAX_PLANS:
        _plans.clear()
    _, live, free = key
    plan = _plans[key] = build_plan(text, live, free, scalars)
    Counters.plans_built += 1
    return plan


def _store(tape: Tape, results: list[tuple[int, Any]]) -> None:
    """Gives storages the buffers that a plan made."""
    for entry, buf in results:
        s = tape.values[entry]
        if s is None:
            continue
        if s.pin is not None:
            buf = _keep_address(tape, s, buf)
        s.buf = buf


def _recover(tape: Tape, live: tuple[bool, ...], entry: int) -> None:
    """After an operator failed: what does not depend on it is evaluated all the same."""
    lost: set[int] = set()
    none_free = (False,) * len(tape.leaves)
    while entry >= 0 and entry not in lost:
        for inst, ins, first in _first_entries(tape.key):
            if first == entry or not lost.isdisjoint(ins):
                lost.update(range(first, first + max(len(inst.outs), 1)))
        rest = tuple([wanted and i not in lost for i, wanted in enumerate(live)])
        try:
            _store(
                tape,
                build_plan(tape.key, rest, none_free, tape.scalars).run(tape.leaves, tape.scalars),
            )
            break
        except Failed as another:
            entry = another.entry
    _give_up(tape)


def _give_up(tape: Tape) -> None:
    """What was written in place and has no new value keeps its old one; the rest is lost."""
    for s in tape.values:
        if s is not None and s.tape is tape:
            s.tape = None
    entries = [first for inst, _, first in _first_entries(tape.key) if inst.op is LEAF]
    order = {entry: k for k, entry in enumerate(entries)}
    for s, entry in reversed(tape.rebound):
        if s.buf is None:
            s.buf, s.tape = tape.leaves[order[entry]], None


def _first_entries(key: list[Any]) -> list[tuple[Any, tuple, int]]:
    """(operator, inputs, first entry) of everything on a tape."""
    out = []
    at = 0
    for inst, ins in decode(key):
        out.append((inst, ins, at))
        at += max(len(inst.outs), 1)
    return out


def _bad_index(tape: Tape, error: BadIndex, failed: int) -> Exception:
    """PyTorch's error for an index that a kernel found out of range, with the user's line."""
    kind, text = report(error.tag, error.index, error.size)
    where = None
    line = _line(tape, failed)
    if line:
        text += f"\n  {line}"
        where = _module_path([ref() for ref in _mark(tape, failed)[3]])
    failure = kind(text)
    if where:
        failure.add_note(where)
        failure.path_is_noted = True  # type: ignore[attr-defined]
    return failure


def _mark(tape: Tape, failed: int) -> Any:
    return next((mark for mark in reversed(tape.marks) if mark[0] == failed), None)


def _line(tape: Tape, failed: int) -> str:
    """Where the user recorded an operator, if the tape has noted it."""
    mark = _mark(tape, failed)
    if mark is None:
        return ""
    _, code, at, _ = mark
    line = next((n for first, end, n in code.co_lines() if first <= at < end), code.co_firstlineno)
    return f"recorded at {code.co_filename}:{line}, in {code.co_qualname}"


def _module_path(modules: list[Any]) -> str | None:
    """'in model.emb (Embedding)' for modules that were running, the innermost first."""
    if not modules or None in modules:
        return None
    inner, outer = modules[0], modules[-1]
    path = next((name for name, module in outer.named_modules() if module is inner), "")
    name = type(outer).__name__
    frame: Any = sys._getframe(1)
    while frame is not None:  # the user's own name for the module, where it is still in sight
        if not frame.f_code.co_filename.startswith(_HOME):
            names = [n for n, value in frame.f_locals.items() if value is outer and n != "self"]
            if names:
                name = names[0]
                break
        frame = frame.f_back
    return f"in {name}{path and '.' + path} ({type(inner).__name__})"


def _keep_address(tape: Tape, s: Storage, buf: Any) -> Any:
    """Memory that is visible outside gets the new bytes; its address stays."""
    holder = s.pin()
    if holder is None:
        s.pin = None
        return buf
    home = holder.home
    if home is not buf and home is not None:
        home.numpy("uint8", (home.nbytes,))[: buf.nbytes] = buf.numpy("uint8", (buf.nbytes,))[
            : home.nbytes
        ]
        return home
    return buf


ENGINE.flush = flush


def pending_key() -> list[Any]:
    """What the calling thread has recorded and not evaluated."""
    return list(LOCAL.tape.key)


def evaluate_reference(tensors: list[Any]) -> list[Any]:
    """Values of pending tensors by the NumPy meaning of each primitive; nothing is evaluated for good."""
    from facula.graph.tape import Storage as _Storage
    from facula.schedule.lower import lower
    from facula.schedule.reference_plan import ReferencePlan
    from facula.tensor import wrap

    tape = LOCAL.tape
    wanted = {t._s.i for t in tensors if t._s.tape is tape and t._s.buf is None}
    live = tuple(i in wanted for i in range(tape.n))
    results = dict(
        ReferencePlan(lower(tape.key, live, tape.scalars)).run(tape.leaves, tape.scalars)
    )
    out = []
    for t in tensors:
        s: _Storage = t._s
        if s.tape is tape and s.buf is None:
            from facula.graph.tape import new_storage

            shadow = wrap(new_storage(results[s.i], s.meta), t.meta, t._off)
            out.append(shadow._values().copy())
        else:
            out.append(t._values().copy())
    return out


def forget_plans() -> None:
    """Drops all plans; the next evaluation of anything builds its own again."""
    with _lock:
        Cutting.forget()
        _plans.clear()
