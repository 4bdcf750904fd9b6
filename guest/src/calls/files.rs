//! ReadFile and WriteFile. A file system may take its time, so the work is done on other threads, piece by piece.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::RenameFlags;
use tokio::task::spawn_blocking;

use super::pieces::{self, Arrivals, Sink};
use crate::agent::Agent;
use crate::failure::{CallError, CallResult};
use crate::files::describe::{self, PERMISSION_BITS};
use crate::files::draft::Draft;
use crate::files::make;
use crate::files::owner::{Names, Owner};
use crate::files::work::{parent_of, resolve, Work};
use crate::link::stream::{Call, MAX_DATA_BYTES};
use crate::proto::{output, FailureCode, FileRead, FileWritten, Output, ReadFile, WriteFile};
use std::sync::Arc;

const DEFAULT_MODE: u32 = 0o644;

/// Sends a file, or a part of it.
pub async fn read(agent: &Agent, call: &Arc<Call>, request: ReadFile) -> CallResult<FileRead> {
    let path = resolve(agent, &request.path)?;
    let _transfer = pieces::begin(agent, call).await?;
    let opening = spawn_blocking(move || open(&path, &request));
    let (source, announcement) = opening
        .await
        .map_err(|error| CallError::internal(format!("opening a file: {error}")))??;
    if let Some(announcement) = announcement {
        pieces::send_output(call, &announcement).await?;
    }
    let bytes = pieces::send_all(call, move |sink| source.read_into(sink)).await?;
    Ok(FileRead { bytes: bytes.0 })
}

/// A part of an open file.
struct Source {
    file: File,
    path: PathBuf,
    length: u64,
}

fn open(path: &Path, request: &ReadFile) -> CallResult<(Source, Option<Output>)> {
    let shown = path.display();
    let fail = |error: io::Error| CallError::system(format_args!("read {shown}"), error);
    // Opening a pipe or a device must not wait for anybody.
    let mut file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if metadata.is_dir() {
        return Err(CallError::new(
            FailureCode::IsDirectory,
            format!("{shown} is a directory, expected a file"),
        ));
    }
    if !metadata.is_file() {
        return Err(CallError::invalid(format!(
            "{shown} is a pipe, socket or device, expected a file"
        )));
    }
    if request.offset > 0 {
        file.seek(SeekFrom::Start(request.offset)).map_err(fail)?;
    }
    let announcement = if request.announce {
        let stat = rustix::fs::fstat(&file).map_err(|error| fail(error.into()))?;
        let name = path.file_name().map_or(&b"/"[..], OsStrExt::as_bytes);
        let entry = describe::entry(name, &stat, Vec::new(), &Names::load());
        Some(Output {
            output: Some(output::Output::Entry(entry)),
        })
    } else {
        None
    };
    let length = if request.length == 0 {
        u64::MAX
    } else {
        request.length
    };
    let source = Source {
        file,
        path: path.to_owned(),
        length,
    };
    Ok((source, announcement))
}

impl Source {
    fn read_into(mut self, sink: &mut Sink) -> CallResult<()> {
        let mut rest = self.length;
        while rest > 0 {
            let wanted = usize::try_from(rest)
                .unwrap_or(MAX_DATA_BYTES)
                .min(MAX_DATA_BYTES);
            let mut piece = vec![0; wanted];
            let count = match self.file.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let shown = self.path.display();
                    return Err(CallError::system(format_args!("read {shown}"), error));
                }
            };
            piece.truncate(count);
            rest -= count as u64;
            sink.send(piece)?;
        }
        Ok(())
    }
}

/// Receives a file, which appears whole or not at all.
pub async fn write(agent: &Agent, call: &Arc<Call>, request: WriteFile) -> CallResult<FileWritten> {
    let work = Work::new(call, "write", resolve(agent, &request.path)?);
    let _transfer = pieces::begin(agent, call).await?;
    let limit = request.size_limit_bytes;
    let (bytes, path) = pieces::receive_all(call, limit, move |arrivals| {
        write_pieces(&work, &request, arrivals)
    })
    .await?;
    Ok(FileWritten {
        bytes,
        path: path.into_os_string().into_vec(),
    })
}

fn write_pieces(work: &Work, request: &WriteFile, arrivals: &mut Arrivals) -> CallResult<PathBuf> {
    let fail = |error: io::Error| work.failed(error);
    let owner = Owner::find(&request.user, &request.group)?;
    let parents = request.make_parents.then_some(owner);
    let (path, replaced) = destination(work.path(), parents)?;
    if request.must_be_new && replaced.is_some() {
        return Err(exists(work));
    }
    let (directory, name) = parent_of(&path).map_err(|error| work.failed(error))?;
    let (draft, file) = Draft::file(&directory).map_err(|error| work.failed(error))?;
    let mut file = File::from(file);
    while let Some(piece) = arrivals.next_piece()? {
        file.write_all(&piece).map_err(fail)?;
    }
    let mode = match (request.mode & PERMISSION_BITS, &replaced) {
        (0, Some(replaced)) => replaced.mode() & PERMISSION_BITS,
        (0, None) => DEFAULT_MODE,
        (mode, _) => mode,
    };
    // The owner goes first: it takes the set-user bits away.
    let kept = replaced.map_or_else(Owner::default, |replaced| Owner {
        uid: Some(replaced.uid()),
        gid: Some(replaced.gid()),
    });
    let owner = Owner {
        uid: owner.uid.or(kept.uid),
        gid: owner.gid.or(kept.gid),
    };
    owner
        .take(file.as_fd())
        .map_err(|error| work.failed(error))?;
    file.set_permissions(fs::Permissions::from_mode(mode))
        .map_err(fail)?;
    let flags = if request.must_be_new {
        RenameFlags::NOREPLACE
    } else {
        RenameFlags::empty()
    };
    draft.move_to(&name, flags).map_err(|error| match error {
        rustix::io::Errno::EXIST => exists(work),
        error => work.failed(error),
    })?;
    Ok(path)
}

fn exists(work: &Work) -> CallError {
    CallError::conflict(format!(
        "{} exists, expected a new file",
        work.path().display()
    ))
}

/// Where the file goes, links followed, and what is there now. With `parents`, the owner of the directories that are made.
fn destination(path: &Path, parents: Option<Owner>) -> CallResult<(PathBuf, Option<fs::Metadata>)> {
    let shown = path.display();
    let fail = |error: io::Error| CallError::system(format_args!("write {shown}"), error);
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(CallError::new(
            FailureCode::IsDirectory,
            format!("{shown} is a directory, expected a file"),
        )),
        Ok(metadata) if !metadata.is_file() => Err(CallError::invalid(format!(
            "{shown} is a pipe, socket or device, expected a file"
        ))),
        Ok(metadata) => Ok((fs::canonicalize(path).map_err(fail)?, Some(metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path
                .file_name()
                .ok_or_else(|| CallError::invalid(format!("{shown} names no file")))?;
            if let Some(owner) = parents {
                make::parents_of(path, owner).map_err(fail)?;
            }
            let parent = path.parent().unwrap_or(Path::new("/"));
            Ok((fs::canonicalize(parent).map_err(fail)?.join(name), None))
        }
        Err(error) => Err(fail(error)),
    }
}
