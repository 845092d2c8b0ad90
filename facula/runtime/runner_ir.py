"""The native plan runner and the loop of a worker thread, as LLVM IR.

A *pool* is a block of memory through which one caller hands chunks of tasks to the workers:

    ticket    generation << 32 | high << 16 | low: the chunks low..high of this region are free.
              The caller takes chunks from below and workers from above, by compare-and-swap, so
              that a thread tends to meet the same data in one step after another.
    signal    what sleeping workers wait on (a futex); changed before they are woken
    done      chunks that workers have finished in this region
    owner     1 while a caller uses the pool; a second caller runs its plan alone
    missed    regions that met sleeping workers. Plans too short to be worth a wake-up let them
              sleep, but every eighth such region wakes them: they may come in quick succession
    stop      tells the workers to leave; a region in progress is finished by its caller

A worker that has read the region's record and then swapped the ticket successfully knows that the
record is the one the ticket belongs to: the caller writes the next record only when every chunk
is done, and the generation keeps old tickets from coming back.
"""

from __future__ import annotations

import sys

# Offsets into a pool, in bytes; what different threads write lies on different cache lines.
TICKET, SIGNAL, SLEEPERS, STOP = 0, 8, 16, 24
DONE = 64
OWNER = 128
WORKERS, SPIN = 192, 200
CALLER_SCRATCH, CALLER_SCRATCH_BYTES = 208, 216
MISSED = 224
RECORD = 256
POOL_BYTES = 384

# 64-bit fields of a step's record, and of a region's (the first five are copied from the step)
FN, ARGS, NTASKS, CHUNKS, SCRATCH, BUFS, SCALARS, STATUS = range(8)
FINE = 5  # of a step's record only
STEP_FIELDS = 8

# 64-bit fields of a plan's header; STATUS_OUT and the three after it report a bad index
STEPS, NSTEPS, MAX_SCRATCH, POOL_CELL, SCALARS_AT, PARALLEL, WAKE, _SPARE, STATUS_OUT = range(9)
HEADER_FIELDS = 12

CHUNKS_PER_THREAD = 4
# Pauses between offers to let others run: whom we wait for may need this very core.
BRIEF = 256
_CALL = "ptr {bufs}, ptr {args}, ptr {scalars}, i64 {t0}, i64 {t1}, ptr {scratch}, ptr {status}"


def _field(name: str, base: str, index: int, kind: str = "i64") -> str:
    return (
        f"  %{name}.p = getelementptr i64, ptr {base}, i64 {index}\n"
        f"  %{name} = load {kind}, ptr %{name}.p\n"
    )


def _at(name: str, offset: int, base: str = "%pool") -> str:
    return f"  %{name} = getelementptr i8, ptr {base}, i64 {offset}\n"


# futex(2): wait is operation 128 (private) and wake 129; its number differs by architecture
_LINUX_SLEEP = """
declare i64 @syscall(i64, ...)
define internal void @sleep_on(ptr %word, i32 %seen) nounwind {{
  %r = call i64 (i64, ...) @syscall(i64 {futex}, ptr %word, i32 128, i32 %seen, ptr null)
  ret void
}}
define internal void @wake(ptr %word, i32 %count) nounwind {{
  %r = call i64 (i64, ...) @syscall(i64 {futex}, ptr %word, i32 129, i32 %count, ptr null)
  ret void
}}
"""

# the pair behind libc++'s atomic wait on macOS: compare-and-wait is 1, wake-all adds 0x100
_DARWIN_SLEEP = """
declare i32 @__ulock_wait(i32, ptr, i64, i32)
declare i32 @__ulock_wake(i32, ptr, i64)
define internal void @sleep_on(ptr %word, i32 %seen) nounwind {
  %seen64 = zext i32 %seen to i64
  %r = call i32 @__ulock_wait(i32 1, ptr %word, i64 %seen64, i32 0)
  ret void
}
define internal void @wake(ptr %word, i32 %count) nounwind {
  %r = call i32 @__ulock_wake(i32 257, ptr %word, i64 0)
  ret void
}
"""

_POLLING_SLEEP = """
declare i32 @usleep(i32)
define internal void @sleep_on(ptr %word, i32 %seen) nounwind {
  %r = call i32 @usleep(i32 50)
  ret void
}
define internal void @wake(ptr %word, i32 %count) nounwind {
  ret void
}
"""


def _sleeping(is_arm: bool) -> str:
    if sys.platform == "linux":
        return _LINUX_SLEEP.format(futex=98 if is_arm else 202)
    return _DARWIN_SLEEP if sys.platform == "darwin" else _POLLING_SLEEP


def _pausing(is_arm: bool) -> str:
    if is_arm:
        name, argument, declared = "@llvm.aarch64.hint", "i32 1", "i32"
    else:
        name, argument, declared = "@llvm.x86.sse2.pause", "", ""
    return (
        f"declare void {name}({declared})\n"
        "define internal void @pause() alwaysinline nounwind {\n"
        f"  call void {name}({argument})\n  ret void\n}}\n"
    )


_BASICS = """
declare i32 @posix_memalign(ptr, i64, i64)
declare void @free(ptr)
declare i32 @sched_yield()

; replaces *cell by 64-byte aligned memory of at least `bytes`; false if there is none
define internal i1 @grow(ptr %cell, ptr %size, i64 %bytes) nounwind noinline {
  %have = load i64, ptr %size
  %enough = icmp sge i64 %have, %bytes
  br i1 %enough, label %fine, label %more
more:
  %old = load ptr, ptr %cell
  call void @free(ptr %old)
  store ptr null, ptr %cell
  store i64 0, ptr %size
  %error = call i32 @posix_memalign(ptr %cell, i64 64, i64 %bytes)
  %failed = icmp ne i32 %error, 0
  br i1 %failed, label %none, label %got
got:
  store i64 %bytes, ptr %size
  br label %fine
fine:
  ret i1 true
none:
  store ptr null, ptr %cell
  ret i1 false
}
"""


def _chunk(prefix: str, index: str) -> str:
    """Call the region's kernel on chunk `index`: tasks index*n/chunks .. (index+1)*n/chunks."""
    return (
        f"  %{prefix}lo.n = mul i64 {index}, %ntasks\n"
        f"  %{prefix}lo = udiv i64 %{prefix}lo.n, %chunks\n"
        f"  %{prefix}hi.n = add i64 %{prefix}lo.n, %ntasks\n"
        f"  %{prefix}hi = udiv i64 %{prefix}hi.n, %chunks\n"
        "  call void %fn("
        + _CALL.format(
            bufs="%bufs",
            args="%args",
            scalars="%scalars",
            t0=f"%{prefix}lo",
            t1=f"%{prefix}hi",
            scratch="%scratch",
            status="%status",
        )
        + ")\n"
    )


def _region() -> str:
    """Publish a step's tasks, work on them, wait for the workers' share."""
    return f"""
define internal void @region(ptr %pool, ptr %step, ptr %bufs, ptr %scalars, ptr %status,
                             ptr %scratch, i64 %workers, i64 %wakes) nounwind noinline {{
entry:
{_field("fn", "%step", FN, "ptr")}{_field("args", "%step", ARGS, "ptr")}
{_field("ntasks", "%step", NTASKS)}{_field("most", "%step", CHUNKS)}
{_field("need", "%step", SCRATCH)}{_field("fine", "%step", FINE)}
  %threads = add i64 %workers, 1
  %limit0 = mul i64 %threads, {CHUNKS_PER_THREAD}
  %limit = call i64 @llvm.smax.i64(i64 %limit0, i64 %fine)
  %chunks0 = call i64 @llvm.smin.i64(i64 %most, i64 %limit)
  %chunks = call i64 @llvm.smin.i64(i64 %chunks0, i64 60000)
{_at("record", RECORD)}{_store_record()}
{_at("done", DONE)}
  store atomic i64 0, ptr %done monotonic, align 8
{_at("ticket", TICKET)}
  %old = load atomic i64, ptr %ticket monotonic, align 8
  %generation = lshr i64 %old, 32
  %generation1 = add i64 %generation, 1
  %top = shl i64 %generation1, 32
  %high = shl i64 %chunks, 16
  %new = or i64 %top, %high
  %was = atomicrmw xchg ptr %ticket, i64 %new seq_cst
{_at("sleepers", SLEEPERS)}
  %asleep = load atomic i64, ptr %sleepers seq_cst, align 8
  %any = icmp ne i64 %asleep, 0
  br i1 %any, label %consider, label %work
consider:
{_at("missed.p", MISSED)}
  %missed = load i64, ptr %missed.p
  %missed1 = add i64 %missed, 1
  store i64 %missed1, ptr %missed.p
  %eighth = and i64 %missed1, 7
  %turn = icmp eq i64 %eighth, 0
  %eager = icmp ne i64 %wakes, 0
  %must = or i1 %turn, %eager
  br i1 %must, label %rouse, label %work
rouse:
{_at("signal", SIGNAL)}
  %before = atomicrmw add ptr %signal, i32 1 seq_cst
  %others = sub i64 %chunks, 1
  %count = trunc i64 %others to i32
  call void @wake(ptr %signal, i32 %count)
  br label %work
work:
  %mine = phi i64 [ 0, %entry ], [ 0, %consider ], [ 0, %rouse ],
              [ %mine, %lost ], [ %mine1, %claimed ]
  %now = load atomic i64, ptr %ticket monotonic, align 8
  %low = and i64 %now, 65535
  %now16 = lshr i64 %now, 16
  %up = and i64 %now16, 65535
  %left = icmp ult i64 %low, %up
  br i1 %left, label %claim, label %wait
claim:
  %next = add i64 %now, 1
  %swap = cmpxchg ptr %ticket, i64 %now, i64 %next acq_rel monotonic
  %won = extractvalue {{i64, i1}} %swap, 1
  br i1 %won, label %claimed, label %lost
lost:
  br label %work
claimed:
  %mine1 = add i64 %mine, 1
{_chunk("c", "%low")}
  br label %work
wait:
  %theirs = sub i64 %chunks, %mine
  br label %poll
poll:
  %spins = phi i64 [ 0, %wait ], [ %spins1, %again ]
  %finished = load atomic i64, ptr %done acquire, align 8
  %all = icmp eq i64 %finished, %theirs
  br i1 %all, label %leave, label %hold
hold:
  %spins1 = add i64 %spins, 1
  %long = icmp ugt i64 %spins1, {BRIEF}
  br i1 %long, label %yield, label %brief
brief:
  call void @pause()
  br label %again
yield:
  %y = call i32 @sched_yield()
  br label %again
again:
  br label %poll
leave:
  ret void
}}
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
"""


def _store_record() -> str:
    values = [
        (FN, "ptr %fn"),
        (ARGS, "ptr %args"),
        (NTASKS, "i64 %ntasks"),
        (CHUNKS, "i64 %chunks"),
        (SCRATCH, "i64 %need"),
        (BUFS, "ptr %bufs"),
        (SCALARS, "ptr %scalars"),
        (STATUS, "ptr %status"),
    ]
    return "".join(
        f"  %w{i} = getelementptr i64, ptr %record, i64 {i}\n  store {value}, ptr %w{i}\n"
        for i, value in values
    )


def _worker() -> str:
    """What a worker thread does until told to stop; the signature is pthread_create's."""
    return f"""
define ptr @facula_worker(ptr %pool) nounwind {{
entry:
  %cell = alloca ptr
  %size = alloca i64
  store ptr null, ptr %cell
  store i64 0, ptr %size
{_at("ticket", TICKET)}{_at("signal", SIGNAL)}{_at("sleepers", SLEEPERS)}{_at("stop", STOP)}
{_at("done", DONE)}{_at("owner", OWNER)}{_at("record", RECORD)}
{_at("spin.p", SPIN)}
  %spin = load i64, ptr %spin.p
  %patience = shl i64 %spin, 2
  br label %fresh
fresh:
  br label %look
look:
  %idle = phi i64 [ 0, %fresh ], [ %idle1, %on ], [ %idle1, %tired ]
  %now = load atomic i64, ptr %ticket acquire, align 8
  %low = and i64 %now, 65535
  %now16 = lshr i64 %now, 16
  %up = and i64 %now16, 65535
  %left = icmp ult i64 %low, %up
  br i1 %left, label %claim, label %none
claim:
{_field("fn", "%record", FN, "ptr")}{_field("args", "%record", ARGS, "ptr")}
{_field("ntasks", "%record", NTASKS)}{_field("chunks", "%record", CHUNKS)}
{_field("need", "%record", SCRATCH)}
{_field("bufs", "%record", BUFS, "ptr")}{_field("scalars", "%record", SCALARS, "ptr")}
{_field("status", "%record", STATUS, "ptr")}
  %next = sub i64 %now, 65536
  %swap = cmpxchg ptr %ticket, i64 %now, i64 %next acq_rel monotonic
  %won = extractvalue {{i64, i1}} %swap, 1
  br i1 %won, label %claimed, label %fresh
claimed:
  %index = sub i64 %up, 1
  %room = call i1 @grow(ptr %cell, ptr %size, i64 %need)
  br i1 %room, label %run, label %fail
fail:
  store atomic i64 -1, ptr %status monotonic, align 8
  br label %finished
run:
  %scratch = load ptr, ptr %cell
{_chunk("c", "%index")}
  br label %finished
finished:
  %n = atomicrmw add ptr %done, i64 1 release
  br label %fresh
none:
  %told = load atomic i64, ptr %stop monotonic, align 8
  %leaving = icmp ne i64 %told, 0
  br i1 %leaving, label %leave, label %rest
rest:
  call void @pause()
  %idle1 = add i64 %idle, 1
  %part = and i64 %idle1, {BRIEF - 1}
  %polite = icmp eq i64 %part, 0
  br i1 %polite, label %yield, label %on
yield:
  %y = call i32 @sched_yield()
  br label %on
on:
  %short = icmp ult i64 %idle1, %spin
  br i1 %short, label %look, label %tired
tired:
  %taken = load atomic i64, ptr %owner monotonic, align 8
  %busy = icmp ne i64 %taken, 0
  %able = icmp ult i64 %idle1, %patience
  %stay = and i1 %busy, %able
  br i1 %stay, label %look, label %doze
doze:
  %seen = load atomic i32, ptr %signal seq_cst, align 8
  %a = atomicrmw add ptr %sleepers, i64 1 seq_cst
  %again = load atomic i64, ptr %ticket seq_cst, align 8
  %same = icmp eq i64 %again, %now
  %told2 = load atomic i64, ptr %stop seq_cst, align 8
  %staying = icmp eq i64 %told2, 0
  %quiet = and i1 %same, %staying
  br i1 %quiet, label %sleep, label %awake
sleep:
  call void @sleep_on(ptr %signal, i32 %seen)
  br label %awake
awake:
  %b = atomicrmw sub ptr %sleepers, i64 1 seq_cst
  br label %fresh
leave:
  %mine = load ptr, ptr %cell
  call void @free(ptr %mine)
  ret ptr null
}}
"""


def _inline(scratch: str) -> str:
    return (
        "  call void %fn("
        + _CALL.format(
            bufs="%bufs",
            args="%args",
            scalars="%scalars",
            t0="0",
            t1="%ntasks",
            scratch=scratch,
            status="%status",
        )
        + ")\n"
    )


def _run_plan() -> str:
    """The steps of a plan in order; returns 0, a kernel's code, or -1 for lack of memory."""
    return f"""
define i64 @facula_run_plan(ptr %plan, ptr %bufs) nounwind {{
entry:
  %status = alloca [4 x i64], align 64
  store [4 x i64] zeroinitializer, ptr %status
  %own = alloca ptr
  %own.size = alloca i64
  store ptr null, ptr %own
  store i64 0, ptr %own.size
{_field("steps", "%plan", STEPS, "ptr")}{_field("nsteps", "%plan", NSTEPS)}
{_field("need", "%plan", MAX_SCRATCH)}{_field("parallel", "%plan", PARALLEL)}
{_field("wakes", "%plan", WAKE)}{_field("offset", "%plan", SCALARS_AT)}
  %scalars = getelementptr i8, ptr %bufs, i64 %offset
  %wants = or i64 %need, %parallel
  %alone = icmp eq i64 %wants, 0
  br i1 %alone, label %go, label %acquire
acquire:
{_field("pool.cell", "%plan", POOL_CELL, "ptr")}
  %pool = load atomic ptr, ptr %pool.cell acquire, align 8
{_at("owner", OWNER)}
  %swap = cmpxchg ptr %owner, i64 0, i64 1 acq_rel monotonic
  %owned = extractvalue {{i64, i1}} %swap, 1
  br i1 %owned, label %mine, label %private
mine:
{_at("cell", CALLER_SCRATCH)}{_at("cell.size", CALLER_SCRATCH_BYTES)}{_at("workers.p", WORKERS)}
  %workers0 = load i64, ptr %workers.p
  %workers1 = mul i64 %workers0, %parallel
  %room = call i1 @grow(ptr %cell, ptr %cell.size, i64 %need)
  %scratch0 = load ptr, ptr %cell
  br i1 %room, label %go, label %full
private:
  %room1 = call i1 @grow(ptr %own, ptr %own.size, i64 %need)
  %scratch1 = load ptr, ptr %own
  br i1 %room1, label %go, label %full
full:
  %kept = phi ptr [ %pool, %mine ], [ null, %private ]
  store i64 -1, ptr %status
  br label %done
go:
  %held = phi ptr [ null, %entry ], [ %pool, %mine ], [ null, %private ]
  %workers = phi i64 [ 0, %entry ], [ %workers1, %mine ], [ 0, %private ]
  %scratch = phi ptr [ null, %entry ], [ %scratch0, %mine ], [ %scratch1, %private ]
  %end = getelementptr [{STEP_FIELDS} x i64], ptr %steps, i64 %nsteps
  br label %head
head:
  %step = phi ptr [ %steps, %go ], [ %after, %next ]
  %over = icmp eq ptr %step, %end
  br i1 %over, label %done, label %one
one:
{_field("chunks", "%step", CHUNKS)}
  %many = icmp sgt i64 %chunks, 1
  %some = icmp sgt i64 %workers, 0
  %split = and i1 %many, %some
  br i1 %split, label %together, label %inline
inline:
{_field("fn", "%step", FN, "ptr")}{_field("args", "%step", ARGS, "ptr")}
{_field("ntasks", "%step", NTASKS)}{_inline("%scratch")}
  br label %next
together:
  call void @region(ptr %held, ptr %step, ptr %bufs, ptr %scalars, ptr %status,
                    ptr %scratch, i64 %workers, i64 %wakes)
  br label %next
next:
  ; after a bad index nothing more is done: what later steps would overwrite stays as it was
  %after = getelementptr [{STEP_FIELDS} x i64], ptr %step, i64 1
  %so.far = load i64, ptr %status
  %good = icmp eq i64 %so.far, 0
  br i1 %good, label %head, label %done
done:
  %last = phi ptr [ %held, %head ], [ %kept, %full ], [ %held, %next ]
  %private.end = load ptr, ptr %own
  call void @free(ptr %private.end)
  %code = load i64, ptr %status
  %fine = icmp eq i64 %code, 0
  br i1 %fine, label %release, label %report
report:
  %out = getelementptr i64, ptr %plan, i64 {STATUS_OUT}
  %all = load [4 x i64], ptr %status
  store [4 x i64] %all, ptr %out
  br label %release
release:
  %none = icmp eq ptr %last, null
  br i1 %none, label %leave, label %unlock
unlock:
{_at("owner.end", OWNER, "%last")}{_at("stop", STOP, "%last")}
  store atomic i64 0, ptr %owner.end seq_cst, align 8
  %stopped = load atomic i64, ptr %stop seq_cst, align 8
  %dead = icmp ne i64 %stopped, 0
  br i1 %dead, label %bury, label %leave
bury:
  call void @facula_retire(ptr %last)
  br label %leave
leave:
  ret i64 %code
}}

; frees the caller's scratch of a stopped pool, unless a caller still holds it: that one comes back
define void @facula_retire(ptr %pool) nounwind {{
entry:
{_at("owner", OWNER)}
  %swap = cmpxchg ptr %owner, i64 0, i64 1 acq_rel monotonic
  %owned = extractvalue {{i64, i1}} %swap, 1
  br i1 %owned, label %free, label %leave
free:
{_at("cell", CALLER_SCRATCH)}{_at("size", CALLER_SCRATCH_BYTES)}
  %old = load ptr, ptr %cell
  call void @free(ptr %old)
  store ptr null, ptr %cell
  store i64 0, ptr %size
  br label %leave
leave:
  ret void
}}

; tells the workers of a pool to leave
define void @facula_stop(ptr %pool) nounwind {{
{_at("stop", STOP)}{_at("signal", SIGNAL)}
  store atomic i64 1, ptr %stop seq_cst, align 8
  %a = atomicrmw add ptr %signal, i32 1 seq_cst
  call void @wake(ptr %signal, i32 2147483647)
  call void @facula_retire(ptr %pool)
  ret void
}}
"""


def runner_ir(triple: str) -> str:
    """The module: facula_run_plan, facula_worker, facula_stop, facula_retire."""
    is_arm = triple.startswith(("aarch64", "arm64"))
    return "".join(
        [_sleeping(is_arm), _pausing(is_arm), _BASICS, _region(), _worker(), _run_plan()]
    )
