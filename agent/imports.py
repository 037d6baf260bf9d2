"""What Python will import first, by the look of the source: good enough to put it first, and nothing else depends on it."""

import collections
import os
import re

# At the beginning of a line: what stands further in is imported later, if at all.
FROM = re.compile(r"\nfrom +(\.*)([\w.]*) +import +(\([^)]*\)|[^\n#]*)")
IMPORT = re.compile(r"\nimport +([\w., ]+)")


def reachable(roots, folders):
    """The files below `folders` of the modules `roots` and of all that they import, in about that order."""
    ours = {name.partition(".")[0] for folder in folders for name in os.listdir(folder)}
    found, queue = set(), collections.deque(roots)
    while queue:
        parts = queue.popleft().split(".")
        for length in range(1, len(parts) + 1 if parts[0] in ours else 0):
            name = ".".join(parts[:length])
            if name in found:
                continue
            found.add(name)
            path = locate(parts[:length], folders)
            if path:
                yield path
                package = name if path.endswith("/__init__.py") else name.rpartition(".")[0]
                with open(path, errors="replace") as file:
                    queue.extend(imported(file.read(), package))


def locate(parts, folders):
    for folder in folders:
        for end in ("/__init__.py", ".py"):
            path = os.path.join(folder, *parts) + end
            if os.path.isfile(path):
                return path
    return None


def imported(text, package):
    """The full names of what a module of that package imports; some of them are no modules."""
    text = "\n" + text
    for names in IMPORT.findall(text):
        yield from re.findall(r"(?:^|,) *([\w.]+)", names)
    for dots, module, names in FROM.findall(text):
        parts = package.split(".")
        base = [*parts[: len(parts) + 1 - len(dots)], module] if dots else [module]
        base = ".".join(filter(None, base))
        yield base
        yield from (f"{base}.{name}" for name in re.findall(r"\w+", names))
