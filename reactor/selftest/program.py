"""The smallest container: a program that waits for ever, written byte by byte, as the one file of an image.

What this is: pure bytes for the engine's image import; nothing is pulled, built or shipped. What it is not: an init;
it dies of SIGTERM as any program that asks for nothing else (the engine's own init stands in front of it). The
invariant: the program makes one system call, which needs no memory, no file and no right, and repeats it.

It is an ELF file: header, two program headers, code. The code, for each processor:

    x86_64                            aarch64
    loop: push 34      6a 22          loop: mov x0, #0    d2800000
          pop rax      58                   mov x1, #0    d2800001
          syscall      0f 05                mov x2, #0    d2800002
          jmp loop     eb f9                mov x3, #0    d2800003
                                            mov x8, #73   d2800928
                                            svc #0        d4000001
                                            b loop        17fffffa

34 is `pause`; aarch64 has none, so 73 is `ppoll` of no file, without a time limit and a signal mask.
"""

from __future__ import annotations

import io
import struct
import tarfile
from typing import Final, NamedTuple

PATH: Final = "/wait"
"""Where it is in the image."""
_ADDRESS: Final = 0x400000
_PAGE: Final = 0x10000
"""The largest page of aarch64."""
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_IDENT: Final = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
"""64 bit, little endian, version 1, System V."""
_TYPE_EXECUTABLE: Final = 2
_LOAD: Final = 1
_STACK: Final = 0x6474E551
_READ: Final = 4
_WRITE: Final = 2
_EXECUTE: Final = 1


class _Processor(NamedTuple):
    machine: int
    code: bytes


_ARM: Final = (0xD2800000, 0xD2800001, 0xD2800002, 0xD2800003, 0xD2800928, 0xD4000001, 0x17FFFFFA)
_PROCESSORS: Final = {
    "amd64": _Processor(62, bytes.fromhex("6a22 58 0f05 ebf9")),
    "arm64": _Processor(183, struct.pack("<7I", *_ARM)),
}
"""By the name that the engine has for its own processor."""


def program_for(architecture: str) -> bytes | None:
    """Return the program for an engine's processor (`amd64`, `arm64`); None for one that it is not written for."""
    processor = _PROCESSORS.get(architecture)
    if processor is None:
        return None
    head = _HEADER.size + 2 * _SEGMENT.size
    size = head + len(processor.code)
    header = _HEADER.pack(
        _IDENT, _TYPE_EXECUTABLE, processor.machine, 1, _ADDRESS + head, _HEADER.size, 0, 0,
        _HEADER.size, _SEGMENT.size, 2, 0, 0, 0,
    )  # fmt: skip
    loaded = _SEGMENT.pack(_LOAD, _READ | _EXECUTE, 0, _ADDRESS, _ADDRESS, size, size, _PAGE)
    # Without this one some kernels make the stack executable, which a hardened host refuses.
    stack = _SEGMENT.pack(_STACK, _READ | _WRITE, 0, 0, 0, 0, 0, 16)
    return header + loaded + stack + processor.code


def root_of(program: bytes) -> bytes:
    """Return the file system of an image, as a tar: the program, and nothing else."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        entry = tarfile.TarInfo(PATH.removeprefix("/"))
        entry.size, entry.mode = len(program), 0o555
        archive.addfile(entry, io.BytesIO(program))
    return content.getvalue()
