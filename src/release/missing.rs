//! Missing modules: the app imports them but nothing provides them. This is detected before anything is launched.
//!
//! Only imports that are certain to fail count: not indented, in files that are certainly loaded.

use std::fs;
use std::path::Path;

use super::code;
use super::{imports, source};
use crate::base::error::{Exit, Failure, Result};

/// The modules of Python's standard library, 3.9 to 3.13, whose names start with a letter.
const STANDARD: &str = "\
    __future__ __main__ _thread abc aifc annotationlib antigravity argparse array ast asynchat asyncio asyncore \
    atexit audioop base64 bdb binascii binhex bisect builtins bz2 cProfile calendar cgi cgitb chunk cmath cmd code \
    codecs codeop collections colorsys compileall compression concurrent configparser contextlib contextvars copy \
    copyreg crypt csv ctypes curses dataclasses datetime dbm decimal difflib dis distutils doctest email encodings \
    ensurepip enum errno faulthandler fcntl filecmp fileinput fnmatch formatter fractions ftplib functools gc \
    genericpath getopt getpass gettext glob graphlib grp gzip hashlib heapq hmac html http idlelib imaplib imghdr \
    imp importlib inspect io ipaddress itertools json keyword lib2to3 linecache locale logging lzma mailbox \
    mailcap marshal math mimetypes mmap modulefinder msilib msvcrt multiprocessing netrc nis nntplib nt ntpath \
    nturl2path numbers opcode operator optparse os ossaudiodev parser pathlib pdb pickle pickletools pipes pkgutil \
    platform plistlib poplib posix posixpath pprint profile pstats pty pwd py_compile pyclbr pydoc pydoc_data \
    pyexpat queue quopri random re readline reprlib resource rlcompleter runpy sched secrets select selectors \
    shelve shlex shutil signal site smtpd smtplib sndhdr socket socketserver spwd sqlite3 sre_compile \
    sre_constants sre_parse ssl stat statistics string stringprep struct subprocess sunau symbol symtable sys \
    sysconfig syslog tabnanny tarfile telnetlib tempfile termios textwrap this threading time timeit tkinter token \
    tokenize tomllib trace traceback tracemalloc tty turtle turtledemo types typing unicodedata unittest urllib uu \
    uuid venv warnings wave weakref webbrowser winreg winsound wsgiref xdrlib xml xmlrpc zipapp zipfile zipimport \
    zlib zoneinfo";

/// Code that contains one of these may have modules in other places, or under other names.
const ELSEWHERE: [&str; 5] = ["sys.path", "sys.modules", "addsitedir", "meta_path", "install_as_"];

/// Checks that every imported module exists. `module`: the app's module; `site`: the installed dependencies.
pub fn check(files: &[source::File], site: &Path, module: &str) -> Result<()> {
    let texts = imports::loaded(files, module)?;
    let installed = names(site);
    // If Python also searches other places, nothing is certain.
    let elsewhere = |text: &String| ELSEWHERE.iter().any(|word| text.contains(word));
    if texts.iter().any(|(_, text)| elsewhere(text)) || installed.iter().any(|name| adds_paths(site, name)) {
        return Ok(());
    }
    let is_of = |name: &str, file: &str| {
        file.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']))
    };
    // A file that git ignores exists but is not deployed, which has a warning of its own.
    let folder = files.first().and_then(|file| file.path.to_str()?.strip_suffix(&file.name)).map(Path::new);
    let is_there = |name: &str| {
        name.starts_with('_')
            || STANDARD.split_whitespace().any(|known| known == name)
            || installed.iter().any(|file| is_of(name, file))
            || files.iter().any(|file| is_of(name, &file.name))
            || folder.is_some_and(|folder| folder.join(name).is_dir() || folder.join(format!("{name}.py")).exists())
    };
    let imported =
        texts.iter().flat_map(|(path, text)| code::imports(text).into_iter().map(move |found| (path, found)));
    let Some((path, (line, name))) = imported.into_iter().find(|(_, (_, name))| !is_there(name)) else { return Ok(()) };
    let file = path.trim_start_matches("app/");
    Err(Failure::new(Exit::Usage, format!("the app imports {name}, and no requirement provides it"))
        .because(format!(
            "{file}:{line} imports it; it is neither in the app's folder nor in its requirements nor in Python itself"
        ))
        .next("add the package that provides it to the app's requirements, or deploy its file with the app"))
}

/// The names of the files and folders in a folder.
fn names(folder: &Path) -> Vec<String> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Whether a `.pth` file adds folders to Python's path, or executes code.
fn adds_paths(site: &Path, name: &str) -> bool {
    let hook = |text: String| text.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#'));
    name.ends_with(".pth")
        && name != "distutils-precedence.pth"
        && fs::read_to_string(site.join(name)).map_or(true, hook)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error for an app with these files and these dependencies.
    fn missing(app: &[(&str, &str)], site: &[(&str, &str)]) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        for (part, list) in [("app", app), ("site", site)] {
            for (name, text) in list {
                let path = folder.path().join(part).join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }
        let files = app.iter().map(|(name, _)| source::File {
            name: (*name).to_owned(),
            path: folder.path().join("app").join(name),
            executable: false,
        });
        let failure = check(&files.collect::<Vec<_>>(), &folder.path().join("site"), "app").err()?;
        Some(format!("{} {}", failure.what(), failure.reasons().concat()))
    }

    #[test]
    fn a_missing_module_is_reported_with_its_place() {
        let web = ("shop/web.py", "\n\nfrom redis.client import Redis\n");
        let said = missing(&[("app.py", "import os\nfrom shop import web\n"), web], &[]).unwrap();
        assert!(said.starts_with("the app imports redis,") && said.contains("shop/web.py:3"), "{said}");
        assert!(missing(&[("app.py", "import os, yaml as y\n")], &[]).unwrap().contains("imports yaml,"));
    }

    #[test]
    fn a_module_that_may_exist_is_not_missing() {
        let app =
            "import os, json, own, six, _speedups\nimport google.cloud\nfrom yaml import load\nfrom . import own\n";
        let site = [("six.py", ""), ("google/cloud/storage.py", ""), ("yaml.cpython-313-x86_64-linux-gnu.so", "")];
        assert_eq!(missing(&[("app.py", app), ("own.py", "")], &site), None);
        for unsure in [
            "try:\n    import redis\nexcept ImportError:\n    redis = None\n",
            "def late():\n    import redis\n",
            "\"\"\"\nimport redis\n\"\"\"\n",
            "import sys\nsys.path.insert(0, 'vendor')\nimport redis\n",
            "import pymysql.x\npymysql.install_as_MySQLdb()\nimport MySQLdb\n",
        ] {
            assert_eq!(missing(&[("app.py", unsure), ("unused.py", "import redis\n")], &[]), None, "{unsure}");
        }
        assert_eq!(missing(&[("app.py", "import redis\n")], &[("more.pth", "../more\n")]), None);
    }
}
