"""Which files are pictures: the one rule of training, prediction and enrolment.

A picture is a regular file that has the suffix of a format that can be read here (`formats`), or no
suffix, or that of a format that cannot be read, but the first bytes of one that can. Folders are
searched to any depth. Links are followed, to files and to folders; what is reached twice counts once.
What systems leave behind (`__MACOSX`, `._x.png`, `Thumbs.db`, hidden folders) is passed over in
silence. Work directories of runs hold no data. Of everything else that is passed over, one line in
the log says how much, and why.
"""

import heapq
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from jaxcv.data.formats import HEAD, SUFFIXES, UNREADABLE, format_of
from jaxcv.data.passed_over import PassedOver, say_once
from jaxcv.data.work_directories import holds_runs_alone, is_work_directory
from jaxcv.errors import listed
from jaxcv.names import name_form, printable

# Left by Windows, macOS, Synology, QNAP, Linux and picture managers; in lower case.
_SYSTEM = frozenset(
    {
        *("thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
        *("$recycle.bin", "recycler", "system volume information", "lost+found", "__pycache__"),
        *("__macosx", ".ds_store", "icon\r", "network trash folder", "temporary items"),
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),
        *("picasa.ini", "zbthumbnail.info", "pspbrwse.jbf"),
    }
)
# After a dot, what follows is a suffix if it looks like one: not in "Dr. Who" or "2024.05.12 10.30".
_SUFFIX = re.compile(r".+(\.[a-z][a-z0-9_~-]{0,11})", re.DOTALL)


def is_system(name: str) -> bool:
    """Whether a system or program left a file or folder of this name behind."""
    return name.startswith("._") or name.lower() in _SYSTEM


def file_suffix(name: str) -> str:
    """The suffix of a file's name in lower case, with its dot; "" where it has none."""
    found = _SUFFIX.fullmatch(name.lower())
    return found[1] if found else ""


def stem(name: str, suffixes: frozenset[str] = SUFFIXES) -> str:
    """A name or path without its suffix, if that is one of `suffixes`."""
    suffix = file_suffix(name.rpartition("/")[2])
    return name[: -len(suffix)] if suffix in suffixes else name


@dataclass(frozen=True)
class Found:
    """The files below a folder.

    Attributes:
      files: paths relative to the folder that was searched, with forward slashes, sorted.
      passed_over: the other files.
      real: real path by relative path, of the files that are reached through a link.
    """

    files: list[str] = field(default_factory=list)
    passed_over: PassedOver = field(default_factory=PassedOver)
    real: dict[str, str] = field(default_factory=dict)

    def real_paths(self, root: str | os.PathLike[str]) -> Iterator[str]:
        """The real path of each file, `root` being the folder that was searched."""
        top = os.path.realpath(root)
        for file in self.files:
            yield self.real.get(file) or os.path.join(top, *file.split("/"))


def find_files(
    root: str | os.PathLike[str],
    name: str = "",
    suffixes: frozenset[str] = SUFFIXES,
    *,
    companions: bool = False,
    once: bool = True,
) -> Found:
    """Finds the files with some suffixes, by default pictures, below root/name.

    Only where there are links does it ask the file system more than what the folders hold.

    Args:
      root: what paths are relative to.
      name: folder in it, or "".
      suffixes: of the files, in lower case.
      companions: files of other kinds are expected beside them, and not counted as passed over.
      once: a file that links reach again is passed over; else only circles of links are cut.
    """
    found = Found()
    real_root = os.path.realpath(root)
    top = os.path.join(real_root, name) if name else real_root
    linked = os.path.realpath(top) != top
    # (path relative to the root, path, real path, whether a link led there, real paths above)
    waiting: list[tuple[str, str, str, bool, tuple[str, ...]]] = [
        (name, os.path.join(root, name), os.path.realpath(top), linked, ())
    ]
    seen: set[str] = set()
    folder_links: list[tuple[int, str, str, tuple[str, ...]]] = []  # a heap: the nearest first
    file_links: list[tuple[str, str]] = []
    while waiting or folder_links:
        if not waiting:  # Links come after all else, so that a file's own path is the one found.
            _, relative, path, above = heapq.heappop(folder_links)
            waiting.append((relative, path, os.path.realpath(path), True, above))
        relative, path, place, linked, above = waiting.pop()
        if place in (seen if once else above):
            continue
        seen.add(place)
        above = (*above, place)
        for entry in _entries(path, relative, found.passed_over):
            name, is_link = entry.name, entry.is_symlink()
            inner = f"{relative}/{name}" if relative else name
            if _is(entry.is_dir):
                if name.startswith("."):
                    continue
                if is_work_directory(entry.path):
                    found.passed_over.add("work directory of a run", inner)
                    continue
                if is_link:
                    heapq.heappush(folder_links, (inner.count("/"), inner, entry.path, above))
                else:
                    inner_place = os.path.join(place, name)
                    waiting.append((inner, entry.path, inner_place, linked, above))
                continue
            why = _refusal(entry, suffixes, companions)
            if why:
                found.passed_over.add(why, inner)
            elif why is None and is_link:
                file_links.append((inner, entry.path))
            elif why is None:
                found.files.append(inner)
                if linked:
                    found.real[inner] = os.path.join(place, name)
    _add_links(found, file_links, real_root, once)
    # In one order, whichever Unicode form a file system gives names.
    found.files.sort(key=lambda file: (name_form(file), file))
    return found


def _entries(path: str, relative: str, passed_over: PassedOver) -> list[os.DirEntry[str]]:
    """What people put into a folder; none where it cannot be read, which is noted."""
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if not is_system(entry.name)]
    except OSError as error:
        passed_over.add(f"folder that cannot be read: {error.strerror}", relative or path)
        return []


def _add_links(found: Found, links: list[tuple[str, str]], root: str, once: bool) -> None:
    """Adds files that links lead to, with `once` unless they have been found already."""
    if not links:
        return
    places = set(found.real_paths(root))
    for relative, path in sorted(links):
        place = os.path.realpath(path)
        if once and place in places:
            found.passed_over.add("linked twice", relative)
            continue
        places.add(place)
        found.files.append(relative)
        found.real[relative] = place


def _refusal(entry: os.DirEntry[str], suffixes: frozenset[str], companions: bool) -> str | None:
    """Why an entry that is no folder is passed over; "" in silence; None if it is not."""
    suffix = file_suffix(entry.name)
    known = suffix in suffixes
    if entry.name.startswith("."):
        return "hidden" if known else ""
    if not _is(entry.is_file):
        if not known and companions:
            return ""
        return "broken link" if entry.is_symlink() else "no regular file"
    if known:
        return None
    if suffixes != SUFFIXES:
        return "" if companions else suffix or "without suffix"
    if (suffix == "" or suffix in UNREADABLE) and is_picture(entry.path):
        return None
    return "" if companions and suffix not in UNREADABLE else other_kind(suffix)


def other_kind(suffix: str) -> str:
    """Why a file with a suffix that is no picture's, or that of one nothing here decodes, is none."""
    if suffix not in UNREADABLE:
        return suffix or "no picture"
    package = UNREADABLE[suffix].package
    return f"{suffix}, which needs {package or 'another build of Pillow'}"


def _is(kind: Callable[[], bool]) -> bool:
    """What a method of `os.DirEntry` says; False for links that lead in a circle, or nowhere."""
    try:
        return kind()
    except OSError:
        return False


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file has the first bytes of a picture in a format that is read here."""
    try:
        with open(path, "rb") as file:
            found = format_of(file.read(HEAD))
    except OSError:
        return False
    return found is not None and found.readable


def folders_in(root: str | os.PathLike[str]) -> list[str]:
    """Names of the folders in a folder that hold what people put there, sorted.

    Work directories of runs do not; a line in the log says which.
    """
    with os.scandir(root) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".") and not is_system(entry.name) and _is(entry.is_dir)
        )
    of_runs = [name for name in names if holds_runs_alone(os.path.join(root, name))]
    if of_runs:
        say_once(
            f"{printable(os.fspath(root))}: passed over, of runs: {printable(listed(of_runs))}"
        )
    return [name for name in names if name not in of_runs]


def loose_files(root: str | os.PathLike[str]) -> list[str]:
    """Names of the pictures that lie in a folder itself, in none of its folders; sorted."""
    with os.scandir(root) as entries:
        return sorted(
            entry.name
            for entry in entries
            if not is_system(entry.name)
            and not _is(entry.is_dir)
            and _refusal(entry, SUFFIXES, True) is None
        )


def existing_folder(name: str | os.PathLike[str]) -> pathlib.Path:
    """A folder by its name; ValueError where there is none."""
    root = pathlib.Path(name).expanduser()
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    return root


def files_by_name(
    root: pathlib.Path,
    ending: str = "",
    without: str | None = None,
    suffixes: frozenset[str] = SUFFIXES,
    *,
    companions: bool = True,
) -> dict[str, pathlib.Path]:
    """Files below a folder, by default pictures, by their path in it, less file suffix and `ending`.

    Args:
      root: the folder.
      ending: end of the names, before the file's suffix, that is no part of the name; files whose
        names end otherwise are passed over.
      without: files whose names end so are passed over.
      suffixes: of the files, in lower case.
      companions: files of other kinds are expected beside them.

    Returns:
      Paths by name, sorted.
    """
    # Several names may share one file, such as an empty mask.
    listing = find_files(root, suffixes=suffixes, companions=companions, once=False)
    listing.passed_over.say(root)
    found: dict[str, pathlib.Path] = {}
    for path in listing.files:
        name = stem(path, suffixes)
        if not name.endswith(ending) or (without and name.endswith(without)):
            continue
        name = name.removesuffix(ending)
        if name in found:
            raise ValueError(
                f"{root / path}: there is {found[name].name} of the same name beside it; which of "
                "the two is meant cannot be told"
            )
        found[name] = root / path
    return dict(sorted(found.items()))


def one_file(paths: Iterable[tuple[str, str]]) -> str:
    """Which of some files are one, under two names: `a and b are one file, /real/path`, or "".

    Args:
      paths: (name, real path) of each file.
    """
    names: dict[str, str] = {}
    for name, place in paths:
        first = names.setdefault(place, name)
        if first != name:
            return f"{first} and {name} are one file, {place}"
    return ""
