//! The root: the image, read-only, under the VM's own disk.

use std::ffi::CStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{chmod, Mode};
use rustix::mount::{mount, mount_move, unmount, MountFlags, UnmountFlags};

use super::{BootError, Step};

/// How long a disk may take to appear.
const DISK_LIMIT: Duration = Duration::from_secs(10);

const IMAGE: &str = "/dev/vda";
const OWN: &str = "/dev/vdb";
const NO_DATA: Option<&CStr> = None;

/// Mounts the disks and makes them the root; the RAM disk's memory is freed.
pub fn assemble_root() -> Result<(), BootError> {
    for directory in ["/image", "/own", "/root"] {
        fs::create_dir_all(directory).step(format_args!("make {directory}"))?;
    }
    wait_for(IMAGE)?;
    mount(
        IMAGE,
        "/image",
        "erofs",
        MountFlags::RDONLY | MountFlags::NODEV,
        NO_DATA,
    )
    .step(format_args!("mount the image, {IMAGE}, as erofs"))?;
    wait_for(OWN)?;
    // Lazy initialisation would write to the whole disk in the background.
    mount(
        OWN,
        "/own",
        "ext4",
        MountFlags::NOATIME | MountFlags::NODEV,
        c"noinit_itable",
    )
    .step(format_args!("mount the VM's disk, {OWN}, as ext4"))?;
    for directory in ["/own/upper", "/own/work"] {
        fs::create_dir_all(directory).step(format_args!("make {directory}"))?;
    }
    // The root's own mode is that of the upper directory.
    chmod("/own/upper", Mode::from_raw_mode(0o755)).step("set the root's mode")?;
    let layers = c"lowerdir=/image,upperdir=/own/upper,workdir=/own/work";
    mount("overlay", "/root", "overlay", MountFlags::NOATIME, layers)
        .step("mount the overlay of both")?;
    // The overlay holds its layers by itself.
    for layer in ["/image", "/own"] {
        unmount(layer, UnmountFlags::DETACH).step(format_args!("detach {layer}"))?;
    }
    switch_root()
}

fn wait_for(device: &str) -> Result<(), BootError> {
    let give_up_at = Instant::now() + DISK_LIMIT;
    while !Path::new(device).exists() {
        if Instant::now() > give_up_at {
            return Err(std::io::Error::from(std::io::ErrorKind::NotFound))
                .step(format_args!("wait for {device}"));
        }
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn switch_root() -> Result<(), BootError> {
    std::env::set_current_dir("/root").step("enter the root")?;
    let ram_disk = fs::metadata("/").step("look at /")?.dev();
    remove_all(Path::new("/"), ram_disk);
    mount_move(".", "/").step("move the root to /")?;
    rustix::process::chroot(".").step("change the root")?;
    std::env::set_current_dir("/").step("enter /")
}

/// Removes what is on the RAM disk and nothing that is mounted on it. What cannot be removed only costs memory.
fn remove_all(directory: &Path, device: u64) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.dev() != device {
            continue;
        }
        let _ = if metadata.is_dir() {
            remove_all(&path, device);
            fs::remove_dir(&path)
        } else {
            fs::remove_file(&path)
        };
    }
}
