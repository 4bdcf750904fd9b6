//! A file's copy: a reflink where the filesystem can, else only its data, holes left out.

use rustix::fs::{copy_file_range, fstat, ftruncate, ioctl_ficlone, seek, SeekFrom};
use rustix::io::{pread, pwrite, Errno};
use std::os::fd::BorrowedFd;

/// Makes the empty file `to` equal to `from`.
pub fn clone_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    match ioctl_ficlone(to, from) {
        Ok(()) => Ok(()),
        // No reflinks here, or not between these two filesystems.
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::XDEV | Errno::INVAL | Errno::NOSYS) => {
            copy_sparse(from, to)
        }
        Err(error) => Err(error),
    }
}

fn copy_sparse(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let size = u64::try_from(fstat(from)?.st_size).unwrap_or(0);
    ftruncate(to, size)?;
    let mut at = 0;
    while at < size {
        let start = match seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(()), // only a hole is left
            Err(error) => return Err(error),
        };
        let end = seek(from, SeekFrom::Hole(start))?;
        copy_range(from, to, start..end)?;
        at = end;
    }
    Ok(())
}

fn copy_range(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    range: std::ops::Range<u64>,
) -> Result<(), Errno> {
    let mut at = range.start;
    while at < range.end {
        let length = usize::try_from(range.end - at)
            .unwrap_or(usize::MAX)
            .min(1 << 30);
        let (mut source, mut target) = (at, at);
        match copy_file_range(from, Some(&mut source), to, Some(&mut target), length) {
            Ok(0) => return Err(Errno::IO), // the source became shorter meanwhile
            Ok(copied) => at += u64::try_from(copied).unwrap_or(0),
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return copy_by_hand(from, to, at..range.end);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn copy_by_hand(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    range: std::ops::Range<u64>,
) -> Result<(), Errno> {
    let mut buffer = vec![0; 256 * 1024];
    let mut at = range.start;
    while at < range.end {
        let wanted = usize::try_from(range.end - at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = pread(from, &mut buffer[..wanted], at)?;
        if read == 0 {
            return Err(Errno::IO);
        }
        let written = pwrite(to, &buffer[..read], at)?;
        at += u64::try_from(written).unwrap_or(0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File, OpenOptions};
    use std::os::fd::AsFd;
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::path::{Path, PathBuf};

    struct Files(PathBuf);
    impl Files {
        fn new(name: &str) -> Self {
            let directory = std::env::temp_dir().join(format!(
                "instavm-launcher-clone-{name}-{}",
                std::process::id()
            ));
            fs::create_dir_all(&directory).unwrap();
            Self(directory)
        }
        fn make(&self, name: &str) -> File {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(self.0.join(name))
                .unwrap()
        }
    }
    impl Drop for Files {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    const MIB: u64 = 1024 * 1024;

    /// 64 MiB with 12 KiB of data, the last byte a hole's.
    fn sparse(files: &Files) -> File {
        let file = files.make("source");
        file.set_len(64 * MIB).unwrap();
        file.write_all_at(&[1; 4096], 0).unwrap();
        file.write_all_at(&[2; 8192], 33 * MIB).unwrap();
        file
    }

    fn check(files: &Files, copy: &Path) {
        let copy = files.0.join(copy);
        assert!(fs::read(&copy).unwrap() == fs::read(files.0.join("source")).unwrap());
        assert!(
            fs::metadata(&copy).unwrap().blocks() * 512 < MIB,
            "the copy is no longer sparse"
        );
    }

    #[test]
    fn a_copy_is_equal_and_as_sparse() {
        let files = Files::new("sparse");
        let (source, copy) = (sparse(&files), files.make("copy"));
        clone_file(source.as_fd(), copy.as_fd()).unwrap();
        check(&files, Path::new("copy"));
    }

    #[test]
    fn the_ways_of_last_resort_copy_the_same() {
        let files = Files::new("resort");
        let (source, ranged, by_hand) =
            (sparse(&files), files.make("ranged"), files.make("by-hand"));
        copy_sparse(source.as_fd(), ranged.as_fd()).unwrap();
        check(&files, Path::new("ranged"));
        by_hand.set_len(64 * MIB).unwrap();
        copy_by_hand(source.as_fd(), by_hand.as_fd(), 0..4096).unwrap();
        copy_by_hand(source.as_fd(), by_hand.as_fd(), 33 * MIB..33 * MIB + 8192).unwrap();
        check(&files, Path::new("by-hand"));
    }

    #[test]
    fn an_empty_file_and_a_single_hole_are_copied() {
        for size in [0, 5 * MIB] {
            let files = Files::new(&format!("hole-{size}"));
            let (source, copy) = (files.make("source"), files.make("copy"));
            source.set_len(size).unwrap();
            clone_file(source.as_fd(), copy.as_fd()).unwrap();
            assert_eq!(copy.metadata().unwrap().len(), size);
            assert_eq!(copy.metadata().unwrap().blocks(), 0);
        }
    }

    #[test]
    fn a_source_that_cannot_be_read_is_an_error() {
        let files = Files::new("error");
        let source = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(files.0.join("source"))
            .unwrap();
        source.write_all_at(b"data", 0).unwrap();
        assert!(clone_file(source.as_fd(), files.make("copy").as_fd()).is_err());
    }
}
