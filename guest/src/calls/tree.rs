//! ReadTree and WriteTree: whole directories as tar archives.

use std::sync::Arc;

use rustix::fs::CWD;

use super::pieces::{self, Arrivals};
use crate::agent::Agent;
use crate::failure::CallResult;
use crate::files::archive::Archive;
use crate::files::make;
use crate::files::owner::Owner;
use crate::files::tar::Bytes;
use crate::files::unpack::{Plan, Unpacking};
use crate::files::work::{open_directory, resolve, Work};
use crate::link::stream::Call;
use crate::proto::{ReadTree, TreeRead, TreeWritten, WriteTree};

const ROOT_MODE: u32 = 0o755;

/// Sends a directory's content, or one file.
pub async fn read(agent: &Agent, call: &Arc<Call>, request: ReadTree) -> CallResult<TreeRead> {
    let work = Work::new(call, "archive", resolve(agent, &request.path)?);
    let _transfer = pieces::begin(agent, call).await?;
    let sent = pieces::send_all(call, move |sink| {
        let mut archive = Archive::new(&work, sink);
        archive.write()?;
        Ok((archive.entries, archive.skipped))
    });
    let (bytes, (entries, skipped)) = sent.await?;
    Ok(TreeRead {
        bytes,
        entries,
        skipped,
    })
}

impl Bytes for &mut Arrivals {
    fn read(&mut self, most: usize) -> CallResult<&[u8]> {
        Arrivals::read(self, most)
    }
}

/// Receives an archive and unpacks it.
pub async fn write(agent: &Agent, call: &Arc<Call>, request: WriteTree) -> CallResult<TreeWritten> {
    let work = Work::new(call, "unpack", resolve(agent, &request.path)?);
    let image_owner = Owner::of(&agent.account("")?);
    let _transfer = pieces::begin(agent, call).await?;
    let received = pieces::receive_all(call, 0, move |arrivals| {
        let owner = if request.user.is_empty() && request.group.is_empty() {
            image_owner
        } else {
            Owner::find(&request.user, &request.group)?
        };
        if request.make_parents {
            make::with_parents(work.path(), ROOT_MODE, owner)
                .map_err(|error| work.failed(error))?;
        }
        let root = open_directory(CWD, work.path()).map_err(|error| work.failed(error))?;
        let plan = Plan {
            work: &work,
            root,
            owner,
            keep_owners: request.keep_owners,
            limit_bytes: request.size_limit_bytes,
        };
        Unpacking::new(plan).run(arrivals)
    });
    Ok(received.await?.1)
}
