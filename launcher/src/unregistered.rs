//! Finds what a launcher started that was killed before it could write `process.json`.

use crate::process_file::ProcessName;
use rustix::fs::{fstat, stat};
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// The process of one of these programs that was started in this directory: a VM process never leaves it.
pub fn process_in(directory: BorrowedFd<'_>, programs: &[String]) -> Option<ProcessName> {
    let place = fstat(directory)
        .ok()
        .map(|found| (found.st_dev, found.st_ino))?;
    let programs: Vec<_> = programs.iter().filter_map(identity).collect();
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse::<i32>().ok()
    });
    // The name is taken first: a pid that changes hands in between has another start time in the second look.
    pids.filter_map(|pid| ProcessName::of(pid).ok())
        .find(|name| {
            let proc = format!("/proc/{}", name.pid);
            identity(format!("{proc}/cwd")) == Some(place)
                && identity(format!("{proc}/exe")).is_some_and(|exe| programs.contains(&exe))
                && ProcessName::of(name.pid).is_ok_and(|again| again == *name)
        })
}

/// Device and inode, whatever the path is called.
fn identity(path: impl AsRef<Path>) -> Option<(u64, u64)> {
    stat(path.as_ref())
        .ok()
        .map(|found| (found.st_dev, found.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::process::Command;

    #[test]
    fn only_a_known_program_in_that_very_directory_is_found() {
        let directory =
            std::env::temp_dir().join(format!("instavm-unregistered-{}", std::process::id()));
        let other = directory.join("other");
        fs::create_dir_all(&other).unwrap();
        let sleep = |place: &Path| {
            Command::new("sleep")
                .arg("600")
                .current_dir(place)
                .spawn()
                .unwrap()
        };
        let (mut inside, mut beside) = (sleep(&directory), sleep(&other));
        let opened = File::open(&directory).unwrap();
        let find = |program: &str| {
            process_in(opened.as_fd(), &[program.to_owned()]).map(|name| name.pid.cast_unsigned())
        };
        let found = (find("/bin/sleep"), find("/bin/sh"), find("/nonexistent"));
        for process in [&mut inside, &mut beside] {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(found, (Some(inside.id()), None, None));
    }
}
