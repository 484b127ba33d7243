"""Pickles of plain data, read without running anything in them.

A pickle is a program for a small stack machine; some of its instructions import and call any
function by name. Its instructions are first compared with the list of those that put lists, tuples,
bytes, text and numbers together. Python's own `pickle.Unpickler` then carries them out and asks here
for every name: the few that Python and NumPy themselves write for such data stand in a table, each
with a function of this module. Any other name is an error that says which; none is ever imported.

Time and memory stay in proportion to the file: nothing is copied, printed or compared in depth more
often than it stands there, for a small file can refer to one large or deep value many times.
"""

import io
import pathlib
import pickle
import pickletools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxcv.limits import MAX_INSTRUCTIONS
from jaxcv.regular_file import read_file

# NumPy's codes of the element types that arrays may have, as Python 2 and 3 write them.
_TYPES: dict[Any, Any] = {"b1": np.bool_, "u1": np.uint8, "i4": np.int32, "i8": np.int64}
_TYPES |= {code.encode(): dtype for code, dtype in _TYPES.items()}
_BYTE_ORDERS = ("|", "<", "=", b"|", b"<", b"=")
_LATIN = ("latin1", "latin-1")

_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_CLOSES_MARK = ("TUPLE", "LIST", "APPENDS")
_INSTRUCTIONS = """
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4
    SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8 STRING BINSTRING SHORT_BINSTRING
    UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 EMPTY_LIST EMPTY_TUPLE MARK TUPLE1 TUPLE2 TUPLE3
    TUPLE LIST APPEND APPENDS PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
    GLOBAL STACK_GLOBAL REDUCE BUILD PROTO FRAME STOP
"""
_ACCEPTED = frozenset(_INSTRUCTIONS.split())


def read_plain_pickle(path: pathlib.Path) -> Any:
    """Reads a pickle of lists, tuples, bytes, text, bools, whole numbers and arrays of numbers.

    Args:
      path: the file, of any pickle protocol, from Python 2 or 3. Python 2's strings become bytes.

    Raises:
      ValueError: the file is cut off or no pickle, or asks for anything else; the message names the
        file, the byte (of the last name before, where an accepted instruction makes no sense), and
        what it asks for. Nothing of it has been run.
    """
    try:
        content = read_file(path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    # It checks what is read: lengths against the file, numbers against limits.
    instructions: Iterator[Any] = pickletools.genops(io.BytesIO(content))
    names: list[int] = []  # the byte of every instruction that asks for a name
    position, marks, refused = 0, 0, None
    try:
        for number, (opcode, argument, place) in enumerate(instructions):
            position, name = place or 0, opcode.name
            if number >= MAX_INSTRUCTIONS:
                raise ValueError(
                    f"it has more instructions than the limit {MAX_INSTRUCTIONS} (MAX_INSTRUCTIONS)"
                )
            if name not in _ACCEPTED:
                wanted = f" for {argument[:80]}" if name in ("INST", "PERSID") else ""
                refused = f"the instruction {name}{wanted} is not accepted"
                break  # what came before may ask for a name, which says more
            if name in _PUTS and argument > len(content):
                raise ValueError(f"it numbers a value {argument}")  # memory for as many is taken
            if name in ("GLOBAL", "STACK_GLOBAL"):
                names.append(position)
            marks += (name == "MARK") - (name in _CLOSES_MARK)
        reader = _Reader(content, position, names)
        try:
            found = reader.load()
        except Exception:
            position = reader.position
            raise
        if refused:
            raise ValueError(refused)
        if len(found) != 1 or marks:
            raise ValueError("it ends before its data are put together")
    except Exception as error:  # any, for the file may be anything
        reason = str(error) if isinstance(error, ValueError) else "its instructions make no sense"
        raise ValueError(
            f"{path}: byte {position}: cannot be read as a pickle of plain data: {reason}"
        ) from None
    return found[0]


class _Reader(pickle.Unpickler):
    """Carries out accepted instructions; `load` gives a tuple of all that they leave.

    Args:
      content: the pickle.
      end: the byte before which to stop.
      names: the byte of each instruction that asks for a name.
    """

    def __init__(self, content: bytes, end: int, names: list[int]) -> None:
        # A mark before, and at the end the instructions to make a tuple of all since, and to stop.
        # What follows is not carried out, but a frame may reach into it.
        view = memoryview(content)
        program = io.BytesIO(b"".join((b"(", view[:end], b"t.", view[end:])))
        super().__init__(program, fix_imports=False, encoding="bytes")
        self.position = 0
        self._names = iter(names)
        self._encoded: dict[str, bytes] = {}

    def find_class(self, module: str, name: str) -> "_Function":
        """The function of this module that stands for a name; ValueError if there is none."""
        self.position = next(self._names)
        name = f"{module}.{name}"
        if name == "_codecs.encode":
            return _Function(name, self._encode)
        if name not in _FUNCTIONS:
            raise ValueError(
                f"it asks for {ascii(name)[:100]}, which plain data do not need; nothing of it was "
                "run. Do not load this file with other software"
            )
        return _Function(name, _FUNCTIONS[name])

    def _encode(self, text: Any, codec: Any) -> bytes:
        """Bytes, as Python 3 writes them in the formats that Python 2 can read."""
        if not (isinstance(text, str) and isinstance(codec, str) and codec in _LATIN):
            raise ValueError(
                "_codecs.encode is accepted for bytes in latin1, not for another codec"
            )
        if text not in self._encoded:
            self._encoded[text] = text.encode("latin-1")
        return self._encoded[text]


class _Function:
    """What stands for a name on the stack; None for one that is only handed on."""

    def __init__(self, name: str, call: Callable[..., Any] | None) -> None:
        self._name, self._call = name, call

    def __call__(self, *arguments: Any) -> Any:
        if self._call is None:
            raise ValueError("it calls something that is no function")
        try:
            return self._call(*arguments)
        except TypeError:
            raise ValueError(f"it calls {self._name} with {len(arguments)} arguments") from None

    def __setstate__(self, state: Any) -> None:
        raise ValueError("it changes the inside of an object")


class _Type:
    """Stands for a NumPy dtype, which would take any state."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str | bytes) or code not in _TYPES:
            shown = ascii(code)[:40] if isinstance(code, str | bytes) else type(code).__name__
            raise ValueError(f"arrays of type {shown} are not accepted, only b1, u1, i4, i8")
        self.dtype = np.dtype(_TYPES[code])

    def __setstate__(self, state: Any) -> None:
        """Takes what NumPy stores besides the code: version, byte order, then things unused here."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if not isinstance(order, str | bytes) or order not in _BYTE_ORDERS:
            raise ValueError("numbers of another byte order than < are not accepted")


class _Array(np.ndarray):
    """An array whose elements come after it; only what was checked reaches NumPy's `__setstate__`."""

    def __setstate__(self, state: Any) -> None:
        """Takes NumPy's (version, shape, type, column order, elements)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("an array is not described as NumPy does")
        _, shape, kind, column_order, data = state
        values = _values(data, kind, shape, "F" if column_order else "C")
        accepted: Any = (1, values.shape, values.dtype, bool(column_order), data)
        super().__setstate__(accepted)

    def __reduce__(self) -> Any:
        """As an array like any other, where it is pickled itself."""
        return self.view(np.ndarray).__reduce__()


def _values(data: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    """The array with these elements, which it does not copy."""
    if not isinstance(data, bytes | bytearray) or not isinstance(kind, _Type):
        raise ValueError("an array is not described as NumPy does")
    values = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if order == "F" else "C")
    if not values.size and values.ndim > 1:
        raise ValueError("an array without elements is not accepted")  # it may have 2^60 rows
    return values


_FUNCTIONS: dict[str, Callable[..., Any] | None] = {
    "__builtin__.bytes": lambda: b"",
    "builtins.bytes": lambda: b"",
    "numpy.dtype": _Type,
    "numpy.ndarray": None,
}
for _core in ("numpy.core", "numpy._core"):  # before NumPy 2 and since
    _FUNCTIONS[f"{_core}.multiarray._reconstruct"] = lambda *_: _Array((0,), np.uint8)
    _FUNCTIONS[f"{_core}.multiarray.scalar"] = lambda kind, data: _values(
        data, kind, (), "C"
    ).item()
    _FUNCTIONS[f"{_core}.numeric._frombuffer"] = _values
