//! The app's packages for this machine, for the commands of `app.build`.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::Requirements;
use crate::aws::Target;
use crate::base::child;
use crate::base::error::{Exit, Failure, Result};
use crate::base::uv::{self, Uv};

/// Creates a virtual environment in `place`, with the packages that [`super::install`] has listed in `list`.
///
/// # Errors
/// There is no Python, or a package cannot be installed on this machine.
pub async fn create(requirements: &Requirements, target: &Target, list: &Path, place: &Path) -> Result<()> {
    let uv = Uv::find().await?;
    let mut make = uv.command();
    make.args(["venv", "--quiet", "--no-project", "--python"]).arg(python(target)).arg(place);
    said(&mut make).await.map_err(|why| {
        Failure::failed("cannot create a virtual environment for app.build")
            .because(why)
            .standing("Nothing was changed in AWS.")
            .next(format!("install Python {} (for example: uv python install {0})", target.python()))
    })?;
    let mut install = uv.command();
    install.args(["pip", "install", "--quiet", "--python"]).arg(place).arg("-r").arg(list);
    if requirements.hashed() {
        install.arg("--require-hashes");
    } else {
        install.arg("--no-deps");
    }
    if !requirements.builds {
        install.arg("--no-build");
    }
    said(&mut install).await.map_err(|why| {
        let what = format!("cannot install the requirements in {} on this machine, for app.build", requirements.name());
        Failure::new(Exit::Usage, what).because(why).standing("Nothing was changed in AWS.").next(
            "require versions that have wheels for this machine too, or remove app.build and commit what it writes",
        )
    })
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

/// Runs uv. The error is what it printed.
async fn said(command: &mut Command) -> Result<(), String> {
    let output = command.output().await.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(uv::words(&String::from_utf8_lossy(&output.stderr))),
    }
}
