//! Checks that no file in a release refers to a path of the build machine: on the instance it would be missing, or another file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::dirs::unwritable;
use crate::base::error::{Exit, Failure, Result};
use crate::base::logins::masked;

/// The prefixes of the files of editable packages: of setuptools, hatchling, poetry-core and maturin, and scikit-build.
const EDITABLE: [&str; 3] = ["__editable__", "_editable_impl_", "_editable_skbc_"];
/// The types of files to check.
const READ: [&str; 3] = ["py", "pth", "json"];

/// Checks the packages in `site`, which were built in `work`, and removes paths from their metadata.
pub fn check(site: &Path, work: &Path) -> Result<()> {
    let work = work.to_string_lossy();
    let mut found = None;
    let looked = each(site, &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == "METADATA" {
            return without_paths(path);
        }
        // pack.rs excludes `direct_url.json`.
        let kind = path.extension().unwrap_or_default().to_string_lossy();
        if found.is_some() || name == "direct_url.json" || !READ.contains(&&*kind) {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
        let leads = EDITABLE.iter().any(|start| name.starts_with(start))
            || text.contains(&*work)
            || (kind == "pth" && text.lines().any(|line| line.starts_with('/')));
        if leads {
            found = Some(path.strip_prefix(site).unwrap_or(path).to_owned());
        }
        Ok(())
    });
    looked.map_err(|error| unwritable(site, &error))?;
    found.map_or(Ok(()), |file| Err(refused(&file)))
}

fn refused(file: &Path) -> Failure {
    Failure::new(Exit::Usage, format!("{} in the release refers to a folder of this machine", file.display()))
        .because("a package was built as editable, or contains the path that it was built in")
        .standing("Nothing was changed in AWS.")
        .next("build that package as a plain wheel, or list its folder in the requirements, then run the same command again")
}

/// The metadata of a project contains the paths and URLs of what it requires.
fn without_paths(file: &Path) -> io::Result<()> {
    let text = String::from_utf8_lossy(&fs::read(file)?).into_owned();
    let without = |line: &str| match line.split_once(" @ file:") {
        Some((name, rest)) if line.starts_with("Requires-Dist: ") => {
            let marker = rest.split_once(" ;").map_or_else(String::new, |(_, marker)| format!(" ;{marker}"));
            format!("{name}{marker}\n")
        }
        None if line.starts_with("Requires-Dist: ") => format!("{}\n", masked(line)),
        _ => format!("{line}\n"),
    };
    if !text.lines().any(|line| line.starts_with("Requires-Dist: ") && line.contains(" @ ")) {
        return Ok(());
    }
    fs::write(file, text.lines().map(without).collect::<String>())
}

fn each(folder: &Path, look: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() { each(&path, look)? } else { look(&path)? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, text: &str) -> Result<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("site").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        check(&folder.path().join("site"), Path::new("/cache/build-x"))?;
        Ok(fs::read_to_string(file).unwrap())
    }

    #[test]
    fn a_path_of_this_machine_is_refused() {
        for (name, text) in [
            ("__editable__.lib-1.pth", "import __editable___lib_1_finder"),
            ("__editable___lib_1_finder.py", "MAPPING = {}"),
            ("_editable_impl_lib.pth", "x"),
            ("lib.pth", "/home/a/lib/src\n"),
            ("lib.pth", "import os\n/home/a/lib\n"),
            ("lib/where.py", "HERE = '/cache/build-x/tree/lib'"),
        ] {
            let failure = checked(name, text).unwrap_err();
            assert!(failure.what().starts_with(name), "{failure}");
        }
        for (name, text) in [
            ("distutils-precedence.pth", "import os; x = '/a'"),
            ("lib.pth", "lib/vendored\n"),
            ("lib/where.py", "HERE = '/usr/lib'"),
            ("lib/editable.py", ""),
        ] {
            assert_eq!(checked(name, text).unwrap(), text, "{name}");
        }
    }

    #[test]
    fn paths_are_removed_from_metadata() {
        let login = "Requires-Dist: c @ https://me:secret@example.com/c.whl\n";
        let masked = "Requires-Dist: c @ https://****@example.com/c.whl\n";
        assert_eq!(checked("lib-1.dist-info/METADATA", login).unwrap(), masked);
        let text = "Name: lib\nRequires-Dist: a @ file:///cache/build-x/a ; extra == \"x\"\nRequires-Dist: b @ file:///b\n\nRead @ file:me\n";
        let without = "Name: lib\nRequires-Dist: a ; extra == \"x\"\nRequires-Dist: b\n\nRead @ file:me\n";
        assert_eq!(checked("lib-1.dist-info/METADATA", text).unwrap(), without);
    }
}
