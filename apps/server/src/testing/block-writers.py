"""Four writers of numbered blocks, each with its checksum.

Each appends blocks to files, 256 to each, makes each block durable, and only then counts it as acknowledged, in memory.
`write` runs them for ever. `tell` prints numbered lines that say how far they are, and rests
in between. `verify` sees that each gets on, ends
them, drops every cache, and reads back what was acknowledged.
"""

import hashlib
import mmap
import os
import signal
import sys
import time

BLOCK = 4096
PER_FILE = 256
WRITERS = 4
PLACE = "/srv/blocks"
ACKNOWLEDGED = "/dev/shm/acknowledged"
PIDS = "/dev/shm/writers"


def block(writer, number):
    head = b"%d %d " % (writer, number)
    body = head + hashlib.sha256(head).digest() * 127
    body = body[: BLOCK - 32]
    return body + hashlib.sha256(body).digest()


def path(writer, file):
    return f"{PLACE}/{writer}-{file}"


def acknowledged():
    with open(ACKNOWLEDGED, "rb") as file:
        text = file.read()
    return [int.from_bytes(text[8 * w : 8 * w + 8], "little") for w in range(WRITERS)]


def write_blocks(writer):
    with open(ACKNOWLEDGED, "r+b") as file:
        counts = mmap.mmap(file.fileno(), 8 * WRITERS)
    number = 0
    while True:
        number += 1
        file, at = divmod(number, PER_FILE)
        if at == 0 or number == 1:
            fd = os.open(path(writer, file), os.O_CREAT | os.O_WRONLY, 0o600)
            if file >= 3:
                os.unlink(path(writer, file - 3))
        os.pwrite(fd, block(writer, number), at * BLOCK)
        os.fsync(fd)
        counts[8 * writer : 8 * writer + 8] = number.to_bytes(8, "little")
        if (number + 1) % PER_FILE == 0:
            os.close(fd)


def write():
    os.makedirs(PLACE, exist_ok=True)
    with open(ACKNOWLEDGED, "wb") as file:
        file.write(bytes(8 * WRITERS))
    pids = []
    for writer in range(WRITERS):
        pid = os.fork()
        if pid == 0:
            write_blocks(writer)
        pids.append(pid)
    with open(PIDS, "w") as file:
        file.write(" ".join(map(str, pids)))
    for pid in pids:
        os.waitpid(pid, 0)


def tell():
    while not os.path.exists(PIDS):
        time.sleep(0.01)
    line = 0
    while True:
        line += 1
        print(line, hashlib.sha256(b"%d" % line).hexdigest(), *acknowledged(), flush=True)
        time.sleep(float(sys.argv[2]))


def end_writers():
    with open(PIDS) as file:
        pids = [int(pid) for pid in file.read().split()]
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    while any(is_alive(pid) for pid in pids):
        time.sleep(0.005)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return ") Z " not in file.read()
    except (FileNotFoundError, ProcessLookupError):
        return False


def await_progress():
    before = acknowledged()
    give_up_at = time.monotonic() + 60
    while any(now <= then for now, then in zip(acknowledged(), before)):
        if time.monotonic() > give_up_at:
            sys.exit(f"a writer stands: {before}, a minute later {acknowledged()}")
        time.sleep(0.01)


def verify():
    await_progress()
    end_writers()
    counts = acknowledged()
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")
    checked = 0
    for writer, last in enumerate(counts):
        for number in range(max(1, (last // PER_FILE - 1) * PER_FILE), last + 1):
            file, at = divmod(number, PER_FILE)
            with open(path(writer, file), "rb") as opened:
                opened.seek(at * BLOCK)
                if opened.read(BLOCK) != block(writer, number):
                    sys.exit(f"writer {writer}: block {number} of {last} is wrong")
            checked += 1
    print(checked, *counts)


{"write": write, "tell": tell, "verify": verify}[sys.argv[1]]()
