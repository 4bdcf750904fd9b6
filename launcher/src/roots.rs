//! The directories that the launcher opens files in, and nowhere else.

use crate::proto::ErrorCode;
use crate::refusal::Refusal;
use crate::validate::VmId;
use rustix::fs::{fstat, open, openat2, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::canonicalize;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The state directory and the read-only roots, held open.
pub struct Roots {
    state: Root,
    read_only: Vec<Root>,
}

struct Root {
    canonical: PathBuf,
    directory: OwnedFd,
}

/// A path that was resolved is opened without following anything: what changed in between is refused.
const NO_WAY_OUT: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

impl Root {
    fn open(path: &Path) -> io::Result<Self> {
        let canonical = canonicalize(path)?;
        let directory = open(
            &canonical,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self {
            canonical,
            directory,
        })
    }
}

impl Roots {
    /// Opens all of them; each must exist.
    pub fn open(state_dir: &Path, read_only: &[PathBuf]) -> io::Result<Self> {
        let open_root = |path: &Path| {
            Root::open(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })
        };
        Ok(Self {
            state: open_root(state_dir)?,
            read_only: read_only
                .iter()
                .map(|path| open_root(path))
                .collect::<io::Result<_>>()?,
        })
    }

    /// A regular file at an absolute path: below any root for reading, below the state directory for writing too.
    pub fn open_file(&self, path: &str, writable: bool) -> Result<OwnedFd, Refusal> {
        if !path.starts_with('/') || path.contains('\0') {
            return Err(Refusal::invalid(format!(
                "path {path:?}: expected an absolute path"
            )));
        }
        let canonical = canonicalize(path).map_err(|error| Refusal::os(path, error))?;
        let read_only: &[Root] = if writable { &[] } else { &self.read_only };
        let within = std::iter::once(&self.state)
            .chain(read_only)
            .find_map(|root| {
                canonical
                    .strip_prefix(&root.canonical)
                    .ok()
                    .map(|rest| (root, rest))
            });
        let Some((root, rest)) = within else {
            let allowed = if writable {
                "the state directory"
            } else {
                "the state directory and the read roots"
            };
            return Err(Refusal::invalid(format!(
                "path {path:?} is outside {allowed}"
            )));
        };
        let access = if writable {
            OFlags::RDWR
        } else {
            OFlags::RDONLY
        };
        // NONBLOCK, or a named pipe put there would hold the launcher up.
        let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat2(&root.directory, rest, flags, Mode::empty(), NO_WAY_OUT)
            .map_err(|error| Refusal::os(path, error))?;
        let status = fstat(&file).map_err(|error| Refusal::os(path, error))?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(Refusal::invalid(format!(
                "path {path:?} is not a regular file"
            )));
        }
        Ok(file)
    }

    /// The directory of a VM, which its caller made.
    pub fn open_vm_directory(&self, vm_id: &VmId) -> Result<OwnedFd, Refusal> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let rest = format!("vms/{vm_id}");
        openat2(
            &self.state.directory,
            &rest,
            flags,
            Mode::empty(),
            NO_WAY_OUT,
        )
        .map_err(|error| match error {
            Errno::NOENT => Refusal::new(
                ErrorCode::NotFound,
                format!("{rest}: expected the VM's directory to exist"),
            ),
            _ => Refusal::os(&rest, error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Tree(PathBuf);
    impl Tree {
        fn new(name: &str) -> Self {
            let top = std::env::temp_dir().join(format!(
                "instavm-launcher-roots-{name}-{}",
                std::process::id()
            ));
            for directory in [
                "state/vms/a1234567890123456789",
                "images",
                "images-private",
                "outside",
            ] {
                fs::create_dir_all(top.join(directory)).unwrap();
            }
            for file in [
                "state/disk",
                "images/root",
                "images-private/root",
                "outside/secret",
            ] {
                fs::write(top.join(file), "content").unwrap();
            }
            Self(top)
        }
        fn roots(&self) -> Roots {
            Roots::open(&self.0.join("state"), &[self.0.join("images")]).unwrap()
        }
        fn path(&self, rest: &str) -> String {
            self.0.join(rest).to_str().unwrap().into()
        }
    }
    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn files_below_the_roots_open_and_read_roots_stay_read_only() {
        let tree = Tree::new("open");
        let roots = tree.roots();
        assert!(roots.open_file(&tree.path("state/disk"), true).is_ok());
        assert!(roots.open_file(&tree.path("images/root"), false).is_ok());
        let refused = roots
            .open_file(&tree.path("images/root"), true)
            .unwrap_err();
        assert!(
            refused.message.contains("is outside the state directory"),
            "{refused}"
        );
    }

    #[test]
    fn every_way_out_is_refused() {
        let tree = Tree::new("escape");
        symlink(tree.path("outside/secret"), tree.path("state/link")).unwrap();
        symlink(tree.path("outside"), tree.path("state/way")).unwrap();
        let roots = tree.roots();
        for path in [
            "outside/secret",
            "images-private/root",
            "state/../outside/secret",
            "state/link",
            "state/way/secret",
        ] {
            let refused = roots.open_file(&tree.path(path), false).unwrap_err();
            assert_eq!(refused.code, ErrorCode::Invalid, "{path}: {refused}");
        }
        for path in [
            "",
            "disk",
            "state/disk",
            "/proc/self/../../etc/passwd",
            "/dev/zero",
        ] {
            assert_eq!(
                roots.open_file(path, false).unwrap_err().code,
                ErrorCode::Invalid,
                "{path}"
            );
        }
    }

    #[test]
    fn a_symlink_that_stays_below_the_roots_is_followed() {
        let tree = Tree::new("inside");
        symlink(tree.path("images/root"), tree.path("state/current")).unwrap();
        assert!(tree
            .roots()
            .open_file(&tree.path("state/current"), false)
            .is_ok());
    }

    #[test]
    fn only_regular_files_are_opened() {
        let tree = Tree::new("kinds");
        let pipe = tree.path("state/pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        for path in [pipe, tree.path("state/vms"), tree.path("state")] {
            assert!(tree.roots().open_file(&path, false).is_err(), "{path}");
        }
        assert_eq!(
            tree.roots()
                .open_file(&tree.path("state/none"), false)
                .unwrap_err()
                .code,
            ErrorCode::NotFound
        );
    }

    #[test]
    fn a_vm_directory_that_is_missing_or_a_link_is_refused() {
        let tree = Tree::new("directory");
        symlink(
            tree.path("outside"),
            tree.path("state/vms/b1234567890123456789"),
        )
        .unwrap();
        let open = |id: &str| {
            tree.roots()
                .open_vm_directory(&VmId::parse(id).unwrap())
                .map_err(|refusal| refusal.code)
        };
        assert!(open("a1234567890123456789").is_ok());
        assert_eq!(open("b1234567890123456789").unwrap_err(), ErrorCode::Os);
        assert_eq!(
            open("c1234567890123456789").unwrap_err(),
            ErrorCode::NotFound
        );
    }
}
