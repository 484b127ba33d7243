"""Large memory pages for the process: what XLA's temporaries cost on a CPU otherwise."""

import os
import sys

_TUNABLES = (
    "glibc.malloc.hugetlb=1",
    f"glibc.malloc.mmap_threshold={2**30}",
    f"glibc.malloc.trim_threshold={2**31 - 1}",
)


def use_large_pages(*, one_arena: bool = False) -> None:
    """Starts this process anew with a C library that asks for pages of 2 MiB, and keeps freed memory.

    XLA's CPU backend takes one block for all temporaries of a step and frees it after. By default glibc
    maps such a block anew each time, and the kernel clears it as it is touched, 4 KiB at a time: a fifth
    of a step of a small ResNet. The library reads its settings only when a process starts. Where it is
    another one they mean nothing; where GLIBC_TUNABLES is set already, it stays as it is.

    A thread's own arena holds 64 MiB at most, so that larger blocks are mapped anew all the same. With
    `one_arena` there is none; XLA's own products, whose threads ask for much memory, lose a tenth to that,
    oneDNN's ask for none.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        tunables = (*_TUNABLES, "glibc.malloc.arena_max=1") if one_arena else _TUNABLES
        environment = {**os.environ, "GLIBC_TUNABLES": ":".join(tunables)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
