//! Runs a command at a pseudo-terminal.

use std::process::Command;

use super::project::Project;

/// Waits for each prompt, types its answer, and prints all that the terminal has shown.
const SCRIPT: &str = r#"
import fcntl, os, pty, select, signal, struct, sys, termios, time
steps = list(zip(sys.argv[1].split("|"), sys.argv[2].split("|")))
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.execv(sys.argv[3], sys.argv[3:])
shown, seen, deadline = b"", 0, time.monotonic() + 60
while time.monotonic() < deadline:
    # Input is discarded until the echo is off.
    quiet = not termios.tcgetattr(terminal)[3] & termios.ECHO
    if quiet and steps and steps[0][0].encode() in shown[seen:]:
        seen = shown.index(steps[0][0].encode(), seen) + len(steps[0][0])
        os.write(terminal, steps.pop(0)[1].encode() + b"\r")
    if not select.select([terminal], [], [], 0.02)[0]:
        continue
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    shown += piece
else:
    os.kill(pid, signal.SIGKILL)
sys.stdout.buffer.write(shown)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) % 256)
"#;

/// Runs a command at a terminal and answers its prompts. Returns the exit code and all that the terminal has shown.
pub fn at_a_terminal(project: &Project, prompts: &str, answers: &str, line: &str) -> (i32, String) {
    with_settings(project, prompts, answers, line, &[])
}

/// The same with environment variables.
pub fn with_settings(
    project: &Project,
    prompts: &str,
    answers: &str,
    line: &str,
    settings: &[(&str, &str)],
) -> (i32, String) {
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT, prompts, answers, env!("CARGO_BIN_EXE_devopsctl")]).args(line.split_whitespace());
    project.settle(&mut command);
    for screen in ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "BROWSER"] {
        command.env_remove(screen);
    }
    command.envs(settings.iter().copied());
    let output = command.env("TERM", "xterm").env_remove("NO_COLOR").output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
}
