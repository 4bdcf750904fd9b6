//! ReadFile and WriteFile. A file system may take its time, so the work is done on other threads, piece by piece.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::agent::Agent;
use crate::failure::{CallError, CallResult};
use crate::link::outbox::Channel;
use crate::link::stream::{Call, MAX_DATA_BYTES};
use crate::proto::{FailureCode, FileRead, FileWritten, ReadFile, WriteFile};

/// Pieces between a file and the link.
const PIECES: usize = 4;
const PERMISSION_BITS: u32 = 0o7777;
const DEFAULT_MODE: u32 = 0o644;

fn resolve(agent: &Agent, path: &[u8]) -> CallResult<PathBuf> {
    if path.is_empty() || path.contains(&0) {
        return Err(CallError::invalid(
            "a file's path is not empty and holds no NUL byte",
        ));
    }
    Ok(Path::new(&agent.image.workdir).join(OsStr::from_bytes(path)))
}

/// Sends a file, or a part of it.
pub async fn read(agent: &Agent, call: &Call, request: ReadFile) -> CallResult<FileRead> {
    let path = resolve(agent, &request.path)?;
    let (sender, mut pieces) = mpsc::channel(PIECES);
    let reading = spawn_blocking(move || read_pieces(&path, &request, &sender));
    let mut bytes = 0;
    loop {
        let piece: Vec<u8> = tokio::select! {
            biased;
            () = call.cancelled().wait() => return Err(CallError::cancelled()),
            piece = pieces.recv() => match piece {
                Some(piece) => piece,
                None => break,
            },
        };
        bytes += piece.len() as u64;
        send(call, &piece).await?;
    }
    reading
        .await
        .map_err(|error| CallError::internal(format!("reading a file: {error}")))??;
    Ok(FileRead { bytes })
}

async fn send(call: &Call, mut piece: &[u8]) -> CallResult<()> {
    while !piece.is_empty() {
        let room = tokio::select! {
            biased;
            () = call.cancelled().wait() => return Err(CallError::cancelled()),
            room = call.data_room() => room.min(piece.len()),
        };
        call.send_data(Channel::Data, &piece[..room]);
        piece = &piece[room..];
    }
    Ok(())
}

fn read_pieces(path: &Path, request: &ReadFile, sender: &mpsc::Sender<Vec<u8>>) -> CallResult<()> {
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
    let mut rest = if request.length == 0 {
        u64::MAX
    } else {
        request.length
    };
    while rest > 0 {
        let wanted = usize::try_from(rest)
            .unwrap_or(MAX_DATA_BYTES)
            .min(MAX_DATA_BYTES);
        let mut piece = vec![0; wanted];
        let count = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(fail(error)),
        };
        piece.truncate(count);
        rest -= count as u64;
        if sender.blocking_send(piece).is_err() {
            break;
        }
    }
    Ok(())
}

/// Receives a file, which appears whole or not at all.
pub async fn write(agent: &Agent, call: &Call, request: WriteFile) -> CallResult<FileWritten> {
    let path = resolve(agent, &request.path)?;
    let limit = if request.size_limit_bytes == 0 {
        u64::MAX
    } else {
        request.size_limit_bytes
    };
    let (sender, pieces) = mpsc::channel(PIECES);
    let writing = spawn_blocking(move || write_pieces(&path, &request, pieces));
    let mut bytes = 0;
    let complete = loop {
        let piece = tokio::select! {
            biased;
            () = call.cancelled().wait() => break Err(CallError::cancelled()),
            piece = call.next_data() => piece,
        };
        let Some(piece) = piece else { break Ok(()) };
        bytes += piece.len() as u64;
        if bytes > limit {
            break Err(CallError::limit(format!(
                "the file is larger than its limit of {limit} bytes"
            )));
        }
        let sent = tokio::select! {
            biased;
            () = call.cancelled().wait() => break Err(CallError::cancelled()),
            sent = sender.send(Piece::Data(piece)) => sent,
        };
        // The writer ended early: it says why.
        if sent.is_err() {
            break Ok(());
        }
    };
    if complete.is_ok() {
        let _ = sender.send(Piece::End).await;
    }
    drop(sender);
    let written = writing
        .await
        .map_err(|error| CallError::internal(format!("writing a file: {error}")))?;
    complete?;
    Ok(FileWritten {
        bytes,
        path: written?.into_os_string().into_vec(),
    })
}

enum Piece {
    Data(Vec<u8>),
    /// Without it the file is given up.
    End,
}

/// A file beside its destination, gone unless it is moved there.
struct Draft {
    path: PathBuf,
    is_moved: bool,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_moved {
            // Nothing to be done when it cannot be removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn write_pieces(
    path: &Path,
    request: &WriteFile,
    mut pieces: mpsc::Receiver<Piece>,
) -> CallResult<PathBuf> {
    let shown = path.display();
    let fail = |error: io::Error| CallError::system(format_args!("write {shown}"), error);
    let (path, replaced) = destination(path, request.make_parents)?;
    let (mut draft, mut file) = make_draft(&path).map_err(fail)?;
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Data(data)) => file.write_all(&data).map_err(fail)?,
            Some(Piece::End) => break,
            None => return Err(CallError::cancelled()),
        }
    }
    let mode = match (request.mode & PERMISSION_BITS, &replaced) {
        (0, Some(replaced)) => replaced.mode() & PERMISSION_BITS,
        (0, None) => DEFAULT_MODE,
        (mode, _) => mode,
    };
    if let Some(replaced) = &replaced {
        std::os::unix::fs::fchown(&file, Some(replaced.uid()), Some(replaced.gid()))
            .map_err(fail)?;
    }
    file.set_permissions(fs::Permissions::from_mode(mode))
        .map_err(fail)?;
    fs::rename(&draft.path, &path).map_err(fail)?;
    draft.is_moved = true;
    Ok(path)
}

/// Where the file goes, links followed, and what is there now.
fn destination(path: &Path, make_parents: bool) -> CallResult<(PathBuf, Option<fs::Metadata>)> {
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
            let parent = path.parent().unwrap_or(Path::new("/"));
            if make_parents {
                fs::create_dir_all(parent).map_err(fail)?;
            }
            Ok((fs::canonicalize(parent).map_err(fail)?.join(name), None))
        }
        Err(error) => Err(fail(error)),
    }
}

fn make_draft(path: &Path) -> io::Result<(Draft, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let directory = path.parent().unwrap_or(Path::new("/"));
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let draft = directory.join(format!(".instavm-draft-{}-{number}", std::process::id()));
        match File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
        {
            Ok(file) => {
                return Ok((
                    Draft {
                        path: draft,
                        is_moved: false,
                    },
                    file,
                ))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}
