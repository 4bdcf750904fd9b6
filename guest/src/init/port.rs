//! The port to the host.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{BootError, Step};

/// How long the port may take to appear.
const PORT_LIMIT: Duration = Duration::from_secs(10);

/// Opens the virtio-serial port of that name. It is opened once: a second opener finds it busy.
pub fn open(name: &str) -> Result<OwnedFd, BootError> {
    let give_up_at = Instant::now() + PORT_LIMIT;
    let device = loop {
        if let Some(device) = find(name).step("look for virtio ports")? {
            break device;
        }
        if Instant::now() > give_up_at {
            return Err(io::Error::from(io::ErrorKind::NotFound))
                .step(format_args!("find the virtio port {name:?}"));
        }
        sleep(Duration::from_millis(2));
    };
    let file = File::options()
        .read(true)
        .write(true)
        .open(&device)
        .step(format_args!("open {}", device.display()))?;
    Ok(file.into())
}

fn find(name: &str) -> io::Result<Option<PathBuf>> {
    let ports = match fs::read_dir("/sys/class/virtio-ports") {
        Ok(ports) => ports,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for port in ports {
        let port = port?;
        let is_named =
            fs::read_to_string(port.path().join("name")).is_ok_and(|text| text.trim_end() == name);
        let device = PathBuf::from("/dev").join(port.file_name());
        if is_named && device.exists() {
            return Ok(Some(device));
        }
    }
    Ok(None)
}
