"""gdb looks at goroutines.

    (gdb) source tools/gdb/gort.py
    (gdb) info goroutines
    (gdb) goroutine 7 bt
    (gdb) goroutine apply all bt

`goroutine N COMMAND` runs a command as if goroutine N were a thread that has stopped where it waits. The
program must have debug information (debug = 2, as cargo's dev profile has it), and be alive: for a goroutine
that is suspended the registers of the current thread are set for a moment, which a core file does not allow.

How it finds things (the files that say why stand in brackets):

- all slots by the table of extents [runtime/src/stack/extent.rs, slot.rs]; the record of a goroutine lies at
  the top of each [g/mod.rs];
- its status in the low byte of the status word [g/state.rs];
- the registers of one that is suspended at the top of its stack: the address where it goes on, rbx, rbp
  [coro/jump.rs];
- the thread of one that runs by the workers of its scheduler [m/mod.rs].

x86-64 only.
"""

import gdb

PAGE_BYTES = 4096
HEADER_BYTES = 512
COLOURS = 16
COLOUR_BYTES = 128
KIND_STACK = 0

STATUSES = ["dead", "not started", "runnable", "running", "parking", "waiting", "claimed", "left"]
DEAD, NEW, RUNNABLE, RUNNING = 0, 1, 2, 3

# The outermost function of a coroutine's stack.
ROOT = "gort_runtime::coro::jump::first"


def inner(value):
    """What is wrapped in structs of one field that has a size (atomics, cells)."""
    kind = value.type.strip_typedefs()
    while kind.code == gdb.TYPE_CODE_STRUCT:
        fields = [field for field in kind.fields() if not field.is_base_class and field.type.sizeof > 0]
        if len(fields) != 1:
            raise gdb.GdbError(f"gort.py does not know the type {value.type}")
        value = value[fields[0].name]
        kind = value.type.strip_typedefs()
    return value


def number(value):
    """The number, or the address, in such a value."""
    return int(inner(value))


def word(address):
    """The machine word at an address."""
    memory = gdb.selected_inferior().read_memory(address, 8)
    return int.from_bytes(memory.tobytes(), "little")


def text(address, length):
    return gdb.selected_inferior().read_memory(address, length).tobytes().decode("utf-8", "replace")


def static(name):
    symbol = gdb.lookup_static_symbol(name) or gdb.lookup_global_symbol(name)
    if symbol is None:
        raise gdb.GdbError(f"there is no {name}: no program of gort's, or one without debug information")
    return symbol.value()


def record(type_name, address):
    return gdb.Value(address).cast(gdb.lookup_type(type_name).pointer()).dereference()


class Goroutine:
    """A record that has held a goroutine, dead or alive."""

    def __init__(self, address):
        self.address = address
        self.g = record("gort_runtime::g::record::G", address)
        self.id = number(self.g["id"])
        self.status = number(self.g["state"]) & 0xFF

    def is_suspended(self):
        return self.status not in (DEAD, NEW, RUNNING) and not self.worker()

    def name(self):
        address = int(self.g["name"].address)
        # Option<Arc<str>>: the address of the counts, or 0; the length. The text follows two counts.
        start, length = word(address), word(address + 8)
        return text(start + 16, length) if start else None

    def site(self):
        address = inner(self.g["site"])
        if int(address) == 0:
            return "?"
        place = address.dereference()
        # A pointer to the file's name, and its length.
        file = int(place["filename"].address)
        return f"{text(word(file), word(file + 8))}:{int(place['line'])}:{int(place['col'])}"

    def state(self):
        if self.status <= RUNNING:
            return STATUSES[self.status]
        reason = number(self.g["wait_reason"])
        for field in gdb.lookup_type("gort_runtime::g::wait::WaitReason").fields():
            if field.enumval == reason:
                return field.name.split("::")[-1]
        return STATUSES[self.status]

    def worker(self):
        """The M that it runs on, or that sleeps beneath it."""
        frozen = number(self.g["frozen"])
        if frozen:
            return record("gort_runtime::m::record::M", frozen)
        owner = number(self.g["owner"])
        if owner == 0 or self.status == DEAD:
            return None
        m = number(record("gort_runtime::sched::record::Sched", owner)["newest_m"])
        while m:
            worker = record("gort_runtime::m::record::M", m)
            if number(worker["g"]) == self.address:
                return worker
            m = number(worker["made_before"])
        return None

    def registers(self):
        """Those of one that is suspended: rip, rsp, rbx, rbp."""
        sp = number(self.g["coro"]["value"]["sp"])
        return {"rip": word(sp), "rsp": sp + 24, "rbx": word(sp + 8), "rbp": word(sp + 16)}

    def run(self, command):
        """Runs a command of gdb's as if this were a thread."""
        worker = self.worker()
        if worker is not None:
            tid = number(worker["tid"])
            for thread in gdb.selected_inferior().threads():
                if tid in thread.ptid:
                    return with_thread(thread, command)
            raise gdb.GdbError(f"there is no thread {tid}")
        if self.status in (DEAD, NEW):
            print(f"goroutine {self.id} has no stack: it is {STATUSES[self.status]}")
            return None
        return with_registers(self.registers(), command)


def with_thread(thread, command):
    before = gdb.selected_thread()
    thread.switch()
    try:
        with Root():
            gdb.execute(command)
    finally:
        before.switch()


def with_registers(registers, command):
    frame = gdb.newest_frame()
    frame.select()
    before = {name: int(frame.read_register(name)) for name in registers}
    try:
        set_registers(registers)
        with Root():
            gdb.execute(command)
    finally:
        set_registers(before)


def set_registers(registers):
    # Each makes gdb forget its frames: the innermost one is selected anew.
    for name, value in registers.items():
        gdb.newest_frame().select()
        gdb.execute(f"set var ${name} = {value}", to_string=True)
    gdb.newest_frame().select()


class Root:
    """While it lasts, backtraces end where a goroutine's stack begins."""

    name = "gort"
    priority = 100
    enabled = True

    def __enter__(self):
        gdb.frame_filters[self.name] = self

    def __exit__(self, *_):
        del gdb.frame_filters[self.name]

    def filter(self, frames):
        for frame in frames:
            # (A function of assembly: the name may end with a hash.)
            if (frame.inferior_frame().name() or "").startswith(ROOT):
                return
            yield frame


def goroutines():
    """All that have not ended, in the order of their numbers."""
    table = static("gort_runtime::stack::extent::TABLE")
    slot_header_bytes = gdb.lookup_type("gort_runtime::stack::slot::SlotHeader").sizeof
    found = []
    for index in range(number(static("gort_runtime::stack::extent::COUNT"))):
        extent = table[index]
        if number(extent["kind"]) != KIND_STACK:
            continue
        base, size = number(extent["base"]), (16 << 10) << number(extent["class"])
        for place in range(number(extent["carved"])):
            top = base + (place + 1) * size - (place % COLOURS) * COLOUR_BYTES - HEADER_BYTES
            header = record("gort_runtime::stack::slot::SlotHeader", top + HEADER_BYTES - slot_header_bytes)
            if number(header["state"]) == 0:
                continue
            goroutine = Goroutine(top)
            if goroutine.id != 0 and goroutine.status != DEAD:
                found.append(goroutine)
    return sorted(found, key=lambda goroutine: goroutine.id)


def head(goroutine):
    name = goroutine.name()
    quoted = f' "{name}"' if name else ""
    return f"goroutine {goroutine.id}{quoted} [{goroutine.state()}] created at {goroutine.site()}"


class InfoGoroutines(gdb.Command):
    """List the goroutines: number, name, state or what is waited for, and where they were created."""

    def __init__(self):
        super().__init__("info goroutines", gdb.COMMAND_STATUS)

    def invoke(self, _argument, _from_tty):
        for goroutine in goroutines():
            print(head(goroutine))


class GoroutineCommand(gdb.Command):
    """Run a command for one goroutine, or for all of them.
usage: goroutine NUMBER COMMAND
       goroutine apply all COMMAND"""

    def __init__(self):
        super().__init__("goroutine", gdb.COMMAND_STACK)

    def invoke(self, argument, _from_tty):
        words = argument.split(maxsplit=2)
        if words[:2] == ["apply", "all"] and len(words) == 3:
            wanted, command = goroutines(), words[2]
        elif len(words) >= 2 and words[0].isdigit():
            command = " ".join(words[1:])
            wanted = [goroutine for goroutine in goroutines() if goroutine.id == int(words[0])]
            if not wanted:
                raise gdb.GdbError(f"there is no goroutine {words[0]}")
        else:
            raise gdb.GdbError(self.__doc__.split("\n", 1)[1])
        for goroutine in wanted:
            print(head(goroutine))
            goroutine.run(command)
            print()


InfoGoroutines()
GoroutineCommand()
