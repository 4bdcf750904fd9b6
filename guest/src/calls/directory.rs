//! Everything about files that is no content: ListDirectory, StatFile, MakeDirectory, MoveFile, RemoveFile, ChangeFile.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{renameat_with, RenameFlags, CWD};
use rustix::io::Errno;

use super::pieces::send_output;
use crate::agent::Agent;
use crate::failure::{CallError, CallResult};
use crate::files::copy;
use crate::files::describe::{self, PERMISSION_BITS};
use crate::files::draft::Draft;
use crate::files::list::{self, MAX_PAGE};
use crate::files::make;
use crate::files::owner::{Names, Owner};
use crate::files::remove::Removal;
use crate::files::work::{self, parent_of, resolve, Work};
use crate::link::stream::Call;
use crate::proto::{
    output, ChangeFile, DirectoryListed, FileEntry, FileRemoved, ListDirectory, MakeDirectory,
    MoveFile, Output, RemoveFile, StatFile,
};

const DEFAULT_DIRECTORY_MODE: u32 = 0o755;

/// Sends one page of a directory.
pub async fn list(
    agent: &Agent,
    call: &Arc<Call>,
    request: ListDirectory,
) -> CallResult<DirectoryListed> {
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    if limit == 0 || limit > MAX_PAGE {
        return Err(CallError::invalid(format!(
            "a page of {limit} entries, expected 1 to {MAX_PAGE}"
        )));
    }
    let work = Work::new(call, "list", resolve(agent, &request.path)?);
    let (entries, has_more) = work::run(move || list::page(&work, &request.after, limit)).await?;
    for entry in entries {
        let entry = Output {
            output: Some(output::Output::Entry(entry)),
        };
        send_output(call, &entry).await?;
    }
    Ok(DirectoryListed { has_more })
}

/// Describes one file.
pub async fn stat(agent: &Agent, call: &Arc<Call>, request: StatFile) -> CallResult<FileEntry> {
    let work = Work::new(call, "stat", resolve(agent, &request.path)?);
    work::run(move || describe(&work, work.path(), request.follow)).await
}

fn describe(work: &Work, path: &Path, follow: bool) -> CallResult<FileEntry> {
    describe::at_path(path, follow, &Names::load()).map_err(|error| work.failed(error))
}

/// Makes a directory.
pub async fn make(
    agent: &Agent,
    call: &Arc<Call>,
    request: MakeDirectory,
) -> CallResult<FileEntry> {
    let work = Work::new(call, "make directory", resolve(agent, &request.path)?);
    work::run(move || {
        let owner = Owner::find(&request.user, &request.group)?;
        let mode = match request.mode & PERMISSION_BITS {
            0 => DEFAULT_DIRECTORY_MODE,
            mode => mode,
        };
        let made = if request.make_parents {
            make::with_parents(work.path(), mode, owner)
        } else {
            make::directory(work.path(), mode, owner)
        };
        made.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotADirectory => CallError::conflict(format!(
                "make directory {}: a part of the path is a file",
                work.path().display()
            )),
            _ => work.failed(error),
        })?;
        describe(&work, work.path(), true)
    })
    .await
}

/// Moves or renames.
pub async fn rename(agent: &Agent, call: &Arc<Call>, request: MoveFile) -> CallResult<FileEntry> {
    let from = resolve(agent, &request.from)?;
    let to = resolve(agent, &request.to)?;
    let work = Work::new(call, "move", from);
    work::run(move || {
        if request.make_parents {
            make::parents_of(&to, Owner::default()).map_err(|error| work.failed(error))?;
        }
        let flags = if request.overwrite {
            RenameFlags::empty()
        } else {
            RenameFlags::NOREPLACE
        };
        match renameat_with(CWD, work.path(), CWD, &to, flags) {
            Err(Errno::XDEV) => move_across(&work, &to, flags)?,
            moved => moved.map_err(|error| not_moved(&work, &to, error))?,
        }
        describe(&work, &to, false)
    })
    .await
}

fn not_moved(work: &Work, to: &Path, error: Errno) -> CallError {
    let (from, to) = (work.path().display(), to.display());
    match error {
        Errno::EXIST => CallError::conflict(format!("move {from}: {to} exists")),
        // A file onto a directory, or the other way around.
        Errno::ISDIR | Errno::NOTDIR if work.path().exists() => {
            CallError::conflict(format!("move {from}: {to} is in the way ({error})"))
        }
        error => CallError::system(format_args!("move {from} to {to}"), error),
    }
}

/// From one file system to another: the copy appears whole, and only then the original goes.
fn move_across(work: &Work, to: &Path, flags: RenameFlags) -> CallResult<()> {
    let fail = |error: Errno| not_moved(work, to, error);
    let (source, source_name) = parent_of(work.path()).map_err(fail)?;
    let (target, target_name) = parent_of(to).map_err(fail)?;
    if flags.contains(RenameFlags::NOREPLACE) && std::fs::symlink_metadata(to).is_ok() {
        return Err(fail(Errno::EXIST));
    }
    let (draft, ()) = Draft::make(target.as_fd(), |name| {
        match rustix::fs::statat(&target, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(()),
            _ => Err(Errno::EXIST),
        }
    })
    .map_err(fail)?;
    let copied = copy::tree(
        work,
        (source.as_fd(), &source_name),
        (target.as_fd(), draft.name()),
    );
    let draft_name = draft.name().to_owned();
    let moved = copied.and_then(|()| draft.move_to(&target_name, flags).map_err(fail));
    if let Err(error) = moved {
        // What was copied of a directory; that it fails as well changes nothing.
        let _ = Removal::new(work).tree(target.as_fd(), &draft_name);
        return Err(error);
    }
    Removal::new(work).tree(source.as_fd(), &source_name)
}

/// Removes a file or a directory.
pub async fn remove(
    agent: &Agent,
    call: &Arc<Call>,
    request: RemoveFile,
) -> CallResult<FileRemoved> {
    let work = Work::new(call, "remove", resolve(agent, &request.path)?);
    work::run(move || {
        let (parent, name) = match parent_of(work.path()) {
            Err(Errno::INVAL) => return Err(work.refused("it names no file")),
            found => found.map_err(|error| work.failed(error))?,
        };
        let mut removal = Removal::new(&work);
        if request.recursive {
            removal.tree(parent.as_fd(), &name)?;
        } else {
            removal.single(parent.as_fd(), &name)?;
        }
        Ok(FileRemoved {
            entries: removal.entries,
        })
    })
    .await
}

/// Changes mode and owner.
pub async fn change(agent: &Agent, call: &Arc<Call>, request: ChangeFile) -> CallResult<FileEntry> {
    let work = Work::new(call, "change", resolve(agent, &request.path)?);
    if request.mode.is_some_and(|mode| mode > PERMISSION_BITS) {
        return Err(work.refused("a mode above 07777"));
    }
    work::run(move || {
        let owner = Owner::find(&request.user, &request.group)?;
        let path: &PathBuf = &work.path().to_owned();
        if !owner.is_none() {
            rustix::fs::chown(path, owner.user(), owner.group())
                .map_err(|error| work.failed(error))?;
        }
        // After the owner, which takes the set-user bits away.
        if let Some(mode) = request.mode {
            rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(mode))
                .map_err(|error| work.failed(error))?;
        }
        describe(&work, path, true)
    })
    .await
}
