"""Pickles of plain data, read without running anything in them.

A pickle is a program for a small stack machine; some of its instructions import and call any
function by name. This reader is another such machine that knows only the instructions that put
lists, tuples, bytes, text, numbers and NumPy arrays together. It never imports and never calls by a
name from the file: the few names that Python and NumPy themselves write for such data stand in a
table here, each with a function of this module. Any other name is an error that says which.
"""

import io
import pathlib
import pickletools
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

# NumPy's codes of the element types that arrays may have.
_TYPES = {"b1": np.bool_, "u1": np.uint8, "i4": np.int32, "i8": np.int64}


class _Name(NamedTuple):
    """A name that the pickle asks for: never looked up in any module."""

    module: str
    name: str


class _Type:
    """Stands in for a NumPy dtype."""

    def __init__(self, code: Any, *_: Any):
        text = _text(code)
        if text not in _TYPES:
            raise ValueError(f"arrays of type {text!r} are not accepted, only {', '.join(_TYPES)}")
        self.dtype = np.dtype(_TYPES[text])

    def build(self, state: Any) -> "_Type":
        """Takes what NumPy stores besides the code: version, byte order, then things unused here."""
        if not isinstance(state, tuple) or len(state) < 2 or _text(state[1]) not in "|<=":
            raise ValueError(f"a type of this kind is not accepted: {str(state)[:60]}")
        return self

    def array(self, data: Any, shape: Any, column_order: bool) -> np.ndarray:
        """The array with these elements."""
        if not isinstance(data, bytes):
            raise ValueError(f"an array's elements must be bytes, not {type(data).__name__}")
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"an array's shape must be sizes, not {str(shape)[:60]}")
        try:
            values = np.frombuffer(data, self.dtype)
            return values.reshape(shape, order="F" if column_order else "C")
        except (ValueError, OverflowError):
            raise ValueError(f"an array of shape {shape} cannot have {len(data)} bytes") from None


class _Array:
    """Stands in for an array between its creation and the instruction that gives its elements."""

    values: np.ndarray | None = None

    def build(self, state: Any) -> np.ndarray:
        """Takes NumPy's (version, shape, type, column order, elements)."""
        if not (isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], _Type)):
            raise ValueError("an array is not described as NumPy does")
        self.values = state[2].array(state[4], state[1], bool(state[3]))
        return self.values


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, str):
        raise ValueError(f"wanted text, found {type(value).__name__}")
    return value


def _encode(text: Any, codec: Any) -> bytes:
    """Bytes, as Python 3 writes them in the formats that Python 2 can read."""
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise ValueError(f"_codecs.encode is accepted for bytes in latin1, not for {codec!r}")
    return text.encode("latin-1")


def _empty_bytes() -> bytes:
    return b""


def _blank_array(kind: Any, *_: Any) -> _Array:
    if kind != _Name("numpy", "ndarray"):
        raise ValueError(f"arrays must be numpy.ndarray, not {str(kind)[:60]}")
    return _Array()


def _scalar(kind: Any, data: Any) -> bool | int:
    if not isinstance(kind, _Type):
        raise ValueError("a NumPy scalar has no type")
    return kind.array(data, (), False).item()


def _array_from_buffer(data: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(kind, _Type):
        raise ValueError("an array has no type")
    return kind.array(data, shape, order == "F")


_Call = Callable[..., Any]
_ACCEPTED: dict[_Name, _Call | None] = {
    _Name("_codecs", "encode"): _encode,
    _Name("__builtin__", "bytes"): _empty_bytes,
    _Name("builtins", "bytes"): _empty_bytes,
    _Name("numpy", "dtype"): _Type,
    _Name("numpy", "ndarray"): None,  # only handed on to _reconstruct
}
for _core in ("numpy.core", "numpy._core"):  # before NumPy 2 and since
    _ACCEPTED[_Name(f"{_core}.multiarray", "_reconstruct")] = _blank_array
    _ACCEPTED[_Name(f"{_core}.multiarray", "scalar")] = _scalar
    _ACCEPTED[_Name(f"{_core}.numeric", "_frombuffer")] = _array_from_buffer


def read_plain_pickle(path: pathlib.Path) -> Any:
    """Reads a pickle of lists, tuples, bytes, text, bools, whole numbers and arrays of numbers.

    Args:
      path: the file, of any pickle protocol, from Python 2 or 3. Python 2's strings become bytes.

    Raises:
      ValueError: the file is cut off or no pickle, or asks for anything else; the message names the
        file, the byte, and what it asks for. Nothing of it has been run.
    """
    machine, position = _Machine(), 0
    instructions = pickletools.genops(io.BytesIO(path.read_bytes()))
    try:
        # What is read is checked by `genops`: lengths against the file, numbers against limits.
        for opcode, argument, place in instructions:
            position = place or 0
            if opcode.name == "STOP":
                return machine.result()
            machine.step(opcode.name, argument)
    except (ValueError, IndexError, KeyError, OverflowError, struct.error) as error:
        reason = str(error) if isinstance(error, ValueError) else "its instructions make no sense"
        raise ValueError(
            f"{path}: byte {position}: cannot be read as a pickle of plain data: {reason}"
        ) from None
    raise AssertionError("genops ends with STOP or an error")


class _Machine:
    """The stack machine: `step` for each instruction, then `result`."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        """What the pickle holds."""
        if len(self._stack) != 1 or self._marks:
            raise ValueError("it ends before its data are put together")
        return self._stack[0]

    def step(self, name: str, argument: Any) -> None:
        """Carries out one instruction; ValueError for those that are not accepted."""
        stack = self._stack
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            stack.append(_LITERALS[name](argument))
        elif name in ("EMPTY_LIST", "EMPTY_TUPLE"):
            stack.append([] if name == "EMPTY_LIST" else ())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            known = self._memo[argument]
            filled = isinstance(known, _Array) and known.values is not None
            stack.append(known.values if filled else known)
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(tuple(self._last(int(name[-1]))))
        elif name in ("TUPLE", "LIST"):
            stack.append((tuple if name == "TUPLE" else list)(self._since_mark()))
        elif name in ("APPEND", "APPENDS"):
            items = self._last(1) if name == "APPEND" else self._since_mark()
            if not isinstance(stack[-1], list):
                raise ValueError("it appends to something that is no list")
            stack[-1].extend(items)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._name(argument.split(" ", 1) if name == "GLOBAL" else self._last(2))
        elif name == "REDUCE":
            self._call(*self._last(2))
        elif name == "BUILD":
            (state,) = self._last(1)
            if not isinstance(stack[-1], _Type | _Array):
                raise ValueError("it changes the inside of an object")
            stack[-1] = stack[-1].build(state)
        elif name not in ("PROTO", "FRAME"):
            wanted = f" for {argument}" if name in ("INST", "PERSID") else ""
            raise ValueError(f"the instruction {name}{wanted} is not accepted")

    def _last(self, count: int) -> list[Any]:
        if len(self._stack) - (self._marks[-1] if self._marks else 0) < count:
            raise IndexError
        items = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return items

    def _since_mark(self) -> list[Any]:
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _name(self, parts: list[Any]) -> None:
        if len(parts) != 2:
            raise IndexError
        wanted = _Name(_text(parts[0]), _text(parts[1]))
        if wanted not in _ACCEPTED:
            raise ValueError(
                f"it asks for {ascii('.'.join(wanted))[:100]}, which plain data do "
                "not need; nothing of it was run. Do not load this file with other software"
            )
        self._stack.append(wanted)

    def _call(self, function: Any, arguments: Any) -> None:
        call = _ACCEPTED.get(function) if isinstance(function, _Name) else None
        if call is None or not isinstance(arguments, tuple):
            raise ValueError("it calls something that is no function")
        try:
            self._stack.append(call(*arguments))
        except TypeError:
            raise ValueError(
                f"it calls {function.module}.{function.name} with {len(arguments)} arguments"
            ) from None


_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def _same(value: Any) -> Any:
    return value


def _latin(value: str) -> bytes:
    return value.encode("latin-1")


_LITERALS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"), _same),
    **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"), _same),
    **dict.fromkeys(("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), _same),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _latin),
    "BYTEARRAY8": bytes,
}
