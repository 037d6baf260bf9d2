//! A virtual machine: QEMU boots a real Debian with its own kernel, systemd and cloud-init, which detects EC2.
//!
//! - User-data, tags and credentials come from the metadata service at 169.254.169.254 only.
//! - The kernel command line has the AWS endpoint, in place of DNS.
//! - The disk is an overlay over the image, so a new instance needs no copy. A stopped instance keeps its disk.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{fs, thread};

use super::super::metadata::MAC;
use super::super::{JoinArgs, restart_advice};
use super::{Instance, Result, SupervisedChild, qmp, remove_tree};
use crate::base::error::Failure;
use crate::base::{child, digest, dirs};

const QEMU: &str = "qemu-system-x86_64";
/// Builds the image. Its hash is part of the image's name.
const RECIPE: &str = include_str!("../../../tests/vm/build-image");
/// The memory of a t3.micro.
const MEMORY_MIB: u32 = 1024;
/// The link-local network of the machine, with this host and the metadata service.
const NETWORK: &str = "net=169.254.169.0/24,host=169.254.169.2,dns=169.254.169.3,dhcpstart=169.254.169.15";
const HOST: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 2);
const METADATA: &str = "169.254.169.254:80";
/// The socket of the metadata service, in the machine's private folder.
pub const METADATA_SOCKET: &str = "net/imds.sock";

/// The image of a virtual machine.
pub struct Image {
    folder: PathBuf,
}

impl Image {
    /// Finds the image in the user's cache, and QEMU on `PATH`.
    ///
    /// # Errors
    /// When one of them is missing.
    pub fn find() -> Result<Self> {
        let missing: Vec<&str> =
            [QEMU, "qemu-img"].into_iter().filter(|program| child::program(program).is_none()).collect();
        if !missing.is_empty() {
            return Err(Failure::failed("cannot start a virtual machine on this system")
                .because(format!("not on PATH: {}", missing.join(", ")))
                .next("install QEMU, on Debian: sudo apt install qemu-system-x86 qemu-utils; or leave --machine out"));
        }
        let cache = dirs::cache()?;
        let folder = cache.join("vm").join(format!("debian-13-{}", digest::short(RECIPE)));
        if !folder.join("disk.qcow2").is_file() {
            let user = cache.parent().unwrap_or(&cache).display();
            return Err(Failure::failed("there is no image for virtual machines")
                .because(format!("{} does not exist", folder.display()))
                .next(format!(
                    "in devopsctl's source: sudo env XDG_CACHE_HOME={user} tests/vm/build-image; or leave --machine out"
                )));
        }
        Ok(Self { folder })
    }

    /// Prepares the machine's folder for a boot, and creates the disk of a new machine.
    pub async fn prepare(&self, folder: &Path) -> io::Result<()> {
        remove_tree(&folder.join("net"))?;
        for name in ["net", "var/log"] {
            fs::create_dir_all(folder.join(name))?;
        }
        if folder.join("disk.qcow2").exists() {
            return Ok(());
        }
        let mut command = child::command("qemu-img");
        command.args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]).arg(self.folder.join("disk.qcow2"));
        let made = command.arg(folder.join("disk.qcow2")).stdin(Stdio::null()).output().await?;
        if made.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&made.stderr).trim().to_owned()))
    }

    /// Starts the machine. `var/log/console.log` has its console, `var/log/qemu.log` the output of QEMU.
    pub fn boot(&self, folder: &Path, instance: &Instance, endpoint: &str) -> Result<SupervisedChild> {
        let endpoint = endpoint.replace("127.0.0.1", &HOST.to_string());
        // An emulated processor needs no mitigations, and it is slow to clear all memory that the kernel allocates.
        let kernel = format!(
            "root=LABEL=root console=ttyS0 mitigations=off init_on_alloc=0 systemd.setenv=AWS_ENDPOINT_URL={endpoint}"
        );
        // The file of this program, also after a newer build has replaced it. It runs in the machine's folder.
        let join = format!("/proc/{}/exe sandbox join {METADATA_SOCKET}", std::process::id());
        let network = format!("user,id=n0,{NETWORK},guestfwd=tcp:{METADATA}-cmd:{join}");
        // cloud-init and other programs detect EC2 by these. <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/identify_ec2_instances.html>
        let uuid = uuid(&instance.id);
        let bios =
            format!("type=1,manufacturer=Amazon EC2,product={},serial={uuid},uuid={uuid}", instance.instance_type);
        SupervisedChild::start(&folder.join("var/log/qemu.log"), |command| {
            command.arg(QEMU).current_dir(folder).args(["-no-user-config", "-nodefaults", "-display", "none"]);
            command.args(["-machine", "q35", "-smp", "2", "-m", &MEMORY_MIB.to_string()]).args(acceleration());
            command.arg("-kernel").arg(self.folder.join("vmlinuz")).arg("-initrd").arg(self.folder.join("initrd.img"));
            command.args(["-append", &kernel, "-smbios", &bios]);
            command.args(["-drive", "file=disk.qcow2,if=virtio,discard=unmap,cache=unsafe"]);
            for slot in 0..qmp::SLOTS {
                command.args(["-device", &format!("pcie-root-port,id={},chassis={}", qmp::port(slot), slot + 1)]);
            }
            command.args([
                "-netdev",
                &network,
                "-device",
                &format!("virtio-net-pci,netdev=n0,mac={MAC}"),
                "-device",
                "virtio-rng-pci",
            ]);
            command.args(["-chardev", "file,id=console,path=var/log/console.log,append=on"]);
            command.args(["-serial", "chardev:console", "-qmp", &format!("unix:{},server=on,wait=off", qmp::SOCKET)]);
        })
    }
}

/// KVM if the processor supports it, else emulation. A virtual machine can have a /dev/kvm that does not work.
fn acceleration() -> &'static [&'static str] {
    let able = fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| {
        let flags = text.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
        flags.split_whitespace().any(|flag| matches!(flag, "vmx" | "svm"))
    });
    let kvm = able && fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    if kvm {
        &["-accel", "kvm", "-cpu", "host"]
    } else {
        // Not `max`: programs would use AVX2, which is slow under emulation. sha256 takes 2.6 times as long.
        &["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "Nehalem,+rdrand"]
    }
}

/// A system UUID with EC2's prefix and the instance id.
fn uuid(instance: &str) -> String {
    let digits: String =
        instance.chars().filter(char::is_ascii_hexdigit).chain("0".repeat(29).chars()).take(29).collect();
    let whole = format!("ec2{digits}");
    let part = |range: std::ops::Range<usize>| whole.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

/// The local address of a TCP port of the virtual machine in this folder. The forward is created at the first call and stays
/// until the machine ends.
///
/// # Errors
/// When no virtual machine is running there, or QEMU refuses.
pub async fn forward(folder: &Path, port: u16) -> io::Result<SocketAddr> {
    let known = folder.join(format!("net/{port}.port"));
    if let Some(local) = fs::read_to_string(&known).ok().and_then(|text| text.parse::<SocketAddr>().ok()) {
        return Ok(local);
    }
    // If another process takes this free port, QEMU refuses and the caller tries again.
    let local = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    qmp::monitor(folder, &format!("hostfwd_add n0 tcp:{}:{}-:{port}", local.ip(), local.port())).await?;
    fs::write(&known, local.to_string())?;
    Ok(local)
}

/// Connects standard input and output to a server on this host. QEMU starts one per connection to the metadata service.
///
/// # Errors
/// When the server does not answer.
pub fn join(arguments: &JoinArgs) -> Result<()> {
    let failed = |error: io::Error| {
        Failure::failed("the metadata service does not answer").because(error.to_string()).next(restart_advice())
    };
    let mut server = UnixStream::connect(&arguments.server).map_err(failed)?;
    let mut requests = server.try_clone().map_err(failed)?;
    thread::spawn(move || {
        // The thread ends with the process: a client that has sent all still waits for the response.
        let _ = copy(&mut io::stdin(), &mut requests);
        let _ = requests.shutdown(std::net::Shutdown::Write);
    });
    copy(&mut server, &mut io::stdout()).map_err(failed)
}

/// Copies and flushes each chunk: standard output would buffer it until the end of the line.
fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut buffer = [0; 16384];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => to.write_all(buffer.get(..count).unwrap_or_default())?,
        }
        to.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uuid_has_ec2s_prefix() {
        assert_eq!(uuid("i-0123456789abcdef0"), "ec201234-5678-9abc-def0-000000000000");
    }
}
