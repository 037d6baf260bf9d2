"""The static files of the releases, as Caddy serves them: a tree for each release, and a file that names the releases to serve.

    static/<release>/plain/...    the files, by the path of their URL
    static/<release>/hashed/...   those with a hash of their content in their name, which never change
    static/roles                  three releases: the newest that became healthy, the one that is being started, and the one before

Only what may be served is in a tree: hard links to regular files, without dot-files and without symbolic links. So no request can
reach anything else. Beside each file is its ETag, which Caddy reads: a hash of the content, because files may have equal sizes and
times. A change of the release replaces the file `roles`, and does not touch Caddy, which reads it once for each request. With a link
for each role, a request during a change could get the content of one release with the ETag of another.
"""

import hashlib
import os
import re
import shutil
import stat
import threading

from boot.validate import Invalid, check, in_words, match
from system.systemd import write

ROLES = ("serving", "starting", "previous")
NONE = "-"
OPEN = ".open"  # The file without the releases whose files need the token: Caddy may still have the settings of an open one.
ETAG = ".devopsctl-etag"
# Of a name: what follows the hash, such as `.min.css` or `.js.map`, and what precedes it.
ENDING = r"(\.[A-Za-z0-9]+){1,2}(\.(gz|br|zst))?\Z"
# Django, webpack: name.0123456789ab.css. With a letter and a digit, because a date or a word is no hash.
HEXADECIMAL = re.compile(r"[.-](?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{8,64}" + ENDING)
# Vite: name-DfG12345.js. Only of code and fonts: images have names such as case-iPhone15.png.
BASE64 = re.compile(r"[.-]([A-Za-z0-9_-]{8})\.(js|mjs|css|wasm|woff2?)(\.map)?(\.(gz|br|zst))?\Z")
CHANGES = 3  # Between capitals, small letters, digits and others in eight characters of base64. `Version2` has two.


def is_hashed(name):
    """Whether a file's name contains a hash of its content, so that another content has another name."""
    if HEXADECIMAL.search(name):
        return True
    found = BASE64.search(name)
    kinds = [kind_of(character) for character in found[1]] if found else []
    changes = sum(one != other for one, other in zip(kinds, kinds[1:]))
    return {"digit", "small", "capital"} <= set(kinds) and changes >= CHANGES


def kind_of(character):
    if character.isdigit():
        return "digit"
    return "small" if character.islower() else "capital" if character.isupper() else "other"


class StaticFiles:
    def __init__(self, paths):
        self.paths, self.laying = paths, threading.Lock()
        self.published = self.trouble = None

    def lay(self, release):
        """Makes the tree of a release on the disk, if it has static files and no tree yet."""
        folders, place = self.folders(release), self.paths.static_tree(release)
        with self.laying:
            if folders and not os.path.isdir(place):
                aside = place + ".new"
                shutil.rmtree(aside, ignore_errors=True)
                for prefix, folder in folders.items():
                    lay_folder(f"{self.paths.release(release)}/app", prefix, folder, aside, folders)
                os.rename(aside, place)

    def folders(self, release):
        """The folders of a release, by URL prefix."""
        return self.paths.manifest(release).get("static") or {}

    def unguarded(self, release):
        """The release, if its files need no token."""
        edge = {} if release == NONE else self.paths.manifest(release).get("edge") or {}
        return release if (edge.get("static") or {}).get("guarded") is False else NONE

    def publish(self, in_thread, **releases):
        """Sets the release of each role, or None. The app goes on if that fails, and the next call tries again."""
        wanted = [releases[role] for role in ROLES]
        if wanted == self.published:
            return
        try:
            served = [release if release and self.folders(release) else NONE for release in wanted]
            for path, roles in (
                (self.paths.static_roles + OPEN, map(self.unguarded, served)),
                (self.paths.static_roles, served),
            ):
                write(path, " ".join(roles) + "\n")
            for release in set(served) - {NONE}:
                if not os.path.isdir(self.paths.static_tree(release)):  # An earlier agent prepared it.
                    in_thread(self.lay, release)
            self.published, self.trouble = wanted, None
        except (OSError, ValueError) as problem:
            if self.trouble != in_words(problem):
                self.trouble = in_words(problem)
                print(f"agent: cannot change which static files are served: {self.trouble}", flush=True)


def lay_folder(app, prefix, folder, tree, prefixes):
    """Links the files of one folder of the app into the tree."""
    check("URL prefix", prefix)
    top = f"{app}/{check('folder', folder)}"
    if os.path.realpath(top) != f"{os.path.realpath(app)}/{folder}":
        raise Invalid(f"the folder of static files {folder} is a link")
    for place, folders, names in os.walk(top):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = f"{place}/{name}"
            url = prefix.rstrip("/") + path[len(top) :]
            ours = not name.startswith(".") and not name.endswith(ETAG) and stat.S_ISREG(os.lstat(path).st_mode)
            if ours and prefix_of(url, prefixes) == prefix:
                served = f"{tree}/{'hashed' if is_hashed(name) else 'plain'}{url}"
                os.makedirs(os.path.dirname(served), exist_ok=True)
                os.link(path, served)
                with open(served + ETAG, "x") as file:
                    file.write(f'"{digest(path)}"')


def prefix_of(url, prefixes):
    """The longest prefix that the path is below."""
    return max((each for each in prefixes if url.startswith(each.rstrip("/") + "/")), key=len)


def digest(path):
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()[:32]


def sweep(paths):
    """Removes the trees of releases that are no longer on the disk."""
    for name in os.listdir(paths.static):
        release = name.partition(".")[0]
        if match("release", release) and not os.path.isdir(paths.release(release)):
            shutil.rmtree(f"{paths.static}/{name}", ignore_errors=True)
