//! Kernel modules that the root needs.

use std::fs::{self, File};
use std::path::Path;

use rustix::io::Errno;

use super::{BootError, Step};
use crate::log;

/// Loads the modules of a directory in the order of its file `load`: one file name per line.
pub fn load(directory: &Path) -> Result<(), BootError> {
    let list = match fs::read_to_string(directory.join("load")) {
        Ok(list) => list,
        // A kernel may have everything built in.
        Err(error) => {
            log::info(format_args!("no list of modules: {error}"));
            return Ok(());
        }
    };
    for name in list.lines().map(str::trim).filter(|name| !name.is_empty()) {
        let file = File::open(directory.join(name)).step(format_args!("open module {name}"))?;
        match rustix::system::finit_module(&file, c"", 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).step(format_args!("load module {name}")),
        }
    }
    Ok(())
}
