"""The trees of static files, which hold what may be served."""

import os
import pathlib

import pytest

from boot.validate import Invalid
from proxy.static_files import ETAG, StaticFiles, is_hashed, lay_folder, sweep
from system.paths import Paths, write_json


@pytest.mark.parametrize(
    "name",
    [
        "site.0123456789ab.css",
        "site.0123456789ab.min.css",
        "site.0123456789ab.css.gz",
        "main.8f3a1b2c.chunk.js",
        "main-8f3a1b2c3d4e5f60.js.map",
        "name-DfG12345.js",
        "index.BkJ5xK9f.css.br",
        "font-Bk_5xK-f.woff2",
    ],
)
def test_names_with_a_hash(name):
    assert is_hashed(name)


@pytest.mark.parametrize(
    "name",
    [
        "site.css",
        "jquery-3.7.1.min.js",
        "jquery-validate.js",
        "report.20240101.pdf",
        "photo-20240101.jpg",
        "page-deadbeef.html",
        "guide-Version2.css",
        "icon-dropDown.js",
        "case-iPhone15.png",
        "IMG_1234.js",
        "0123456789ab.css",
        "a-0123456",
        "app-4f3a1b2c",
    ],
)
def test_names_that_may_get_another_content(name):
    assert not is_hashed(name)


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_tree_has_regular_files_only_and_the_longest_prefix_wins(tmp_path):
    app, outside = tmp_path / "app", tmp_path / "outside"
    for name in ("build/index.html", "build/static/hidden.css", "build/.env", "build/.git/x", "files/a.css", "outside"):
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        (app / name).write_text(name)
    outside.mkdir()
    (outside / "secret.css").write_text("secret")
    (app / "build/to-file.css").symlink_to(outside / "secret.css")
    (app / "build/to-folder").symlink_to(outside)
    os.mkfifo(app / "build/pipe")
    prefixes = {"/": "build", "/static": "files"}
    for prefix, folder in prefixes.items():
        lay_folder(str(app), prefix, folder, str(tmp_path / "tree"), prefixes)
    assert tree(tmp_path / "tree") == [
        "plain/index.html",
        f"plain/index.html{ETAG}",
        "plain/static/a.css",
        f"plain/static/a.css{ETAG}",
    ]
    assert (tmp_path / "tree/plain/static/a.css").samefile(app / "files/a.css")
    (app / "link").symlink_to("build")
    for prefix, folder in (("/x", ".."), ("/x", "."), ("/x", "/etc"), ("/x", "a/../b"), ("/x", "link"), ("/x", "a\0")):
        with pytest.raises((Invalid, ValueError)):
            lay_folder(str(app), prefix, folder, str(tmp_path / "other"), {prefix: folder})
    for prefix in ("", "x", "//x", "/x/", "/../x", "/.x", "/{env.HOME}", "/x*", "/%2e", "/x\n", "/é"):
        with pytest.raises(Invalid):
            lay_folder(str(app), prefix, "files", str(tmp_path / "other"), {prefix: "files"})
    assert not (tmp_path / "other").exists()


def test_the_roles_are_in_one_file_and_trees_go_with_their_release(tmp_path):
    paths = Paths(str(tmp_path))
    paths.prepare()
    first, second, without = names = ["a" * 64, "b" * 64, "c" * 64]
    for name in names:
        place = pathlib.Path(paths.release(name))
        (place / "app/files").mkdir(parents=True)
        (place / "app/files/x.css").write_text(name)
        edge = {"static": {"guarded": name == first}}
        write_json(f"{place}/manifest.json", {} if name == without else {"static": {"/static": "files"}, "edge": edge})
    files, laid = StaticFiles(paths), []

    def roles(**releases):
        files.publish(lambda work, release: laid.append((work, release)), **releases)
        return pathlib.Path(paths.static_roles).read_text().split()

    assert roles(serving=first, starting=None, previous=None) == [first, "-", "-"]
    assert laid == [(files.lay, first)], "an earlier agent did not make the tree"
    for name in (first, first, second, without):
        files.lay(name)
    assert roles(serving=second, starting=without, previous=first) == [second, "-", first]
    assert pathlib.Path(paths.static_roles + ".open").read_text().split() == [second, "-", "-"], (
        "without the guarded one"
    )
    assert len(laid) == 1
    static = pathlib.Path(paths.static)
    assert (static / second / "plain/static/x.css").read_text() == second
    # A failure is tried again.
    (static / "roles.new").mkdir()
    assert roles(serving=first, starting=None, previous=None) == [second, "-", first]
    (static / "roles.new").rmdir()
    assert roles(serving=first, starting=None, previous=None) == [first, "-", "-"]
    os.rename(paths.release(first), paths.release(first) + ".old")
    (static / f"{first}.new").mkdir()
    sweep(paths)
    assert sorted(entry.name for entry in static.iterdir()) == [second, "roles", "roles.open"]
