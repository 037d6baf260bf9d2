//! The app's packages for this machine, for the commands of `app.build`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Requirements, refusals};
use crate::aws::Target;
use crate::base::child;
use crate::base::error::{Failure, Result};
use crate::base::uv::{self, Uv};

/// Creates a virtual environment in `place`, with the packages that [`super::install`] has listed in `list`.
///
/// # Errors
/// There is no Python, or a package cannot be installed on this machine.
pub async fn create(requirements: &Requirements, target: &Target, list: &Path, place: &Path) -> Result<()> {
    let uv = Uv::find().await?;
    let mut make = uv.command();
    make.args(["venv", "--quiet", "--no-project", "--python"]).arg(python(target)).arg(place);
    uv::run(&mut make).await?.map_err(|said| {
        Failure::failed("cannot create a virtual environment for app.build")
            .because(uv::words(&said))
            .standing("Nothing was changed in AWS.")
            .next(format!("install Python {} (for example: uv python install {0})", target.python()))
    })?;
    let mut install = uv.command();
    install.args(["pip", "install", "--quiet", "--python"]).arg(place).arg("--project").arg(requirements.folder());
    install.arg("-r").arg(list);
    if requirements.hashed() {
        install.arg("--require-hashes");
    } else {
        install.arg("--no-deps");
    }
    if !requirements.builds {
        install.arg("--no-build");
    }
    let version = version(place);
    uv::run(&mut install).await?.map_err(|said| refusals::of_build(requirements, target, version.as_deref(), &said))
}

/// The image's version of Python if this machine has it, else the `python3` on `PATH`. uv would download one that is missing.
fn python(target: &Target) -> PathBuf {
    match target {
        Target::Host { python, .. } => python.clone(),
        Target::Image { python, .. } => {
            let named = child::program(format!("python{python}")).or_else(|| child::program("python3"));
            named.unwrap_or_else(|| "python3".into())
        }
    }
}

/// The version of Python in a virtual environment, such as `3.13`.
fn version(place: &Path) -> Option<String> {
    let settings = fs::read_to_string(place.join("pyvenv.cfg")).ok()?;
    let version = settings.lines().find_map(|line| line.strip_prefix("version_info = "))?;
    let mut parts = version.split('.');
    Some(format!("{}.{}", parts.next()?, parts.next()?))
}
