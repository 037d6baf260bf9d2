use super::super::source::tests::folder;
use super::paths::{below, url};
use super::*;

/// The staged requirements, with `P` for the project in the copy.
fn staged(root: &Path, text: &str) -> String {
    let file = root.join("app/requirements.txt");
    let local = Local::find(&file, text).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let staged = fs::read_to_string(local.stage(copy.path(), &file).unwrap()).unwrap();
    staged.replace(below(copy.path(), root).to_str().unwrap(), "P")
}

#[test]
fn every_form_of_a_local_requirement_is_staged() {
    let (_keep, root) = folder(&[
        ("app/vendor/setup.py", ""),
        ("lib/pyproject.toml", ""),
        ("my lib/setup.cfg", ""),
        ("app/w/x-1-py3-none-any.whl", ""),
        ("app/more/own.txt", "./here\n"),
        ("app/more/here/setup.py", ""),
    ]);
    let absolute = |text: &str| text.replace("<root>", root.to_str().unwrap());
    for (written, expected) in [
        ("./vendor", "file://P/app/vendor"),
        ("vendor/ ; python_version > '3'", "file://P/app/vendor ; python_version > '3'"),
        ("-e ../lib[x,y] # ours", "file://P/lib[x,y]"),
        ("--editable=vendor", "file://P/app/vendor"),
        ("-e ../lib#egg=lib[x]", "file://P/lib[x]"),
        ("lib[x] @ ../lib", "lib[x] @ file://P/lib"),
        ("lib @ file:../lib ; python_version > '3'", "lib @ file://P/lib ; python_version > '3'"),
        ("lib @ file://localhost<root>/lib", "lib @ file://P/lib"),
        ("lib @ file://${PROJECT_ROOT}/../lib", "lib @ file://P/lib"),
        ("../my lib", "file://P/my%20lib"),
        ("mine @ file://<root>/my%20lib", "mine @ file://P/my%20lib"),
        ("w/x-1-py3-none-any.whl --hash=sha256:00", "file://P/app/w/x-1-py3-none-any.whl --hash=sha256:00"),
        ("./w/x-1-py3-none-any.whl \\\n  --hash=sha256:00", "file://P/app/w/x-1-py3-none-any.whl --hash=sha256:00"),
        ("--find-links ./w", "--find-links file://P/app/w"),
        ("-r more/own.txt", "-r P/app/more/own.txt"),
        ("-e git+https://example.com/x@1#egg=x", "git+https://example.com/x@1#egg=x"),
    ] {
        assert_eq!(staged(&root, &absolute(&format!("{written}\n"))), format!("{expected}\n"), "{written}");
    }
    for same in [
        "flask==3.1.0\n",
        "flask[async]>=3,<4 ; python_version > '3'  # ./vendor\n",
        "# -e ../lib\n",
        "six==1.17.0 \\\n  --hash=sha256:00 \\\n  --hash=sha256:11\n",
        "x @ https://example.com/x-1.tar.gz\n",
        "x @ git+https://example.com/x\n",
        "--index-url https://example.com/simple\n",
        "--no-index",
    ] {
        assert_eq!(staged(&root, same), same);
    }
    let text = "-i https://a/\n--extra-index-url https://${UV_X}@b/\nx==1\n-f ./w\n-i https://a/\n--no-index";
    let indexes = Local::find(&root.join("app/requirements.txt"), text).unwrap().indexes(Path::new("/copy"));
    let links = url(&below(Path::new("/copy"), &root.join("app/w")));
    assert_eq!(indexes, format!("-i https://a/\n--extra-index-url https://${{UV_X}}@b/\n-f {links}\n--no-index\n"));
    let text = "-r more/own.txt\n";
    let local = Local::find(&root.join("app/requirements.txt"), text).unwrap();
    assert!(local.packages.contains_key(&root.join("app/more/here")), "it is relative to the file that names it");
}

#[test]
fn a_project_includes_the_packages_it_names_by_a_path() {
    let (_keep, root) = folder(&[
        ("pyproject.toml", "[tool.uv.workspace]\nmembers = ['packages/*']\nexclude = ['packages/out']\n"),
        ("packages/one/pyproject.toml", "[project]\nname = 'One.x'\n[tool.uv.sources]\ntwo = {path = '../../two'}\n"),
        ("packages/other/pyproject.toml", "[project]\nname = 'other'\n"),
        ("packages/out/pyproject.toml", "[project]\nname = 'one-x'\n"),
        ("two/pyproject.toml", "[project]\ndependencies = ['three @ {root:uri}/../three']\n"),
        ("three/pyproject.toml", "[tool.poetry.dependencies]\nfour = {path = '../four'}\n"),
        ("four/setup.py", ""),
        ("four/four.egg-info/PKG-INFO", ""),
        ("four/build/lib/old.py", ""),
        ("four/four/__init__.py", "1"),
        ("app/pyproject.toml", "[project]\nname = 'app'\n[tool.uv.sources]\none-x = [{workspace = true}]\n"),
    ]);
    let file = root.join("app/pyproject.toml");
    let find = || Local::find(&file, &fs::read_to_string(&file).unwrap()).unwrap();
    let local = find();
    let packages: Vec<PathBuf> = local.packages.keys().map(|path| path.strip_prefix(&root).unwrap().into()).collect();
    assert_eq!(packages, ["app", "four", "packages/one", "three", "two"].map(PathBuf::from));
    let four: Vec<&str> = local.packages[&root.join("four")].iter().map(|file| file.name.as_str()).collect();
    assert_eq!(four, ["four/__init__.py", "setup.py"]);
    let copy = tempfile::tempdir().unwrap();
    local.stage(copy.path(), &file).unwrap();
    let one = fs::read_to_string(below(copy.path(), &root.join("packages/one/pyproject.toml"))).unwrap();
    assert!(one.contains(&format!("path = {:?}", below(copy.path(), &root.join("two")))), "{one}");
    assert!(below(copy.path(), &root.join("packages/other/pyproject.toml")).exists(), "uv reads every member");

    // Changed code is another release; only changed requirements are resolved again.
    let (content, before) = (local.content().unwrap(), local.metadata().unwrap());
    fs::write(root.join("four/four/__init__.py"), "2").unwrap();
    assert!(find().content().unwrap() != content && find().metadata().unwrap() == before);
    fs::write(root.join("four/setup.py"), "changed").unwrap();
    assert!(find().metadata().unwrap() != before);
}

#[test]
fn a_lock_has_the_original_paths() {
    let (_keep, root) = folder(&[("lib/setup.py", ""), ("app/x", "")]);
    let file = root.join("app/requirements.txt");
    let local = Local::find(&file, "-e ../lib\n").unwrap();
    let copy = Path::new("/copy");
    let lib = below(copy, &root.join("lib"));
    let lock = format!("flask==3\n-e {0}\nlib @ file://{0}\n{0}\n", lib.display());
    let here = url(&root.join("lib"));
    let resolved = local.resolved(&file, &lock, copy).unwrap();
    assert_eq!(resolved, format!("flask==3\n{here}\nlib @ {here}\n{here}\n"));
    let there = url(&lib);
    assert_eq!(Local::to_install(&resolved, copy), format!("flask==3\n{there}\nlib @ {there}\n{there}\n"));
    for other in ["-e /elsewhere/lib\n", "../lib\n", "x @ file:///copy/elsewhere\n"] {
        assert!(local.resolved(&file, other, copy).is_err(), "{other}");
    }
}
