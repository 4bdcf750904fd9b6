//! A VM's memory apart from the file that it was mapped from: what was changed is saved, and put back into a VM that waits.
//!
//! A clone maps its template's memory privately, so a page that it has changed is the process's own, and the kernel
//! says which those are (`/proc/<pid>/pagemap`, Documentation/admin-guide/mm/pagemap.rst). What a fork has from its parent
//! counts as changed too; a page that is equal to the file's is left out by comparing.

pub mod guest_memory;
pub mod pages_file;

use crate::process_file::ProcessName;
use crate::proto::{self, ErrorCode};
use crate::refusal::Refusal;
use crate::roots::Roots;
use crate::validate::VmId;
use guest_memory::GuestMemory;
use pages_file::{PagesReader, PagesWriter};
use std::fs::File;

/// Of x86-64, the only architecture of our guests and hosts.
pub const PAGE_BYTES: usize = 4096;
/// So many pages are read, compared and written at once.
const CHUNK_PAGES: usize = 256;

/// A `SavePages` or `LoadPages` whose fields are in order. Its paths are only text.
#[derive(Debug, PartialEq, Eq)]
pub struct PagesPlan {
    /// Whose memory.
    pub vm_id: VmId,
    /// The file that its memory is mapped from.
    pub base_path: String,
    /// Written by a save, read by a load.
    pub pages_path: String,
}

impl PagesPlan {
    /// Checks all that can be checked without touching the filesystem.
    pub fn of_save(save: proto::SavePages) -> Result<Self, Refusal> {
        Ok(Self {
            vm_id: VmId::parse(&save.vm_id)?,
            base_path: save.base_path,
            pages_path: save.to_path,
        })
    }

    /// The same for a load.
    pub fn of_load(load: proto::LoadPages) -> Result<Self, Refusal> {
        Ok(Self {
            vm_id: VmId::parse(&load.vm_id)?,
            base_path: load.base_path,
            pages_path: load.from_path,
        })
    }
}

/// Writes the pages of a VM that stands which differ from the file's into an empty file.
pub fn save(
    plan: &PagesPlan,
    name: ProcessName,
    roots: &Roots,
) -> Result<proto::PagesSaved, Refusal> {
    let file = File::from(roots.open_file(&plan.pages_path, true)?);
    let memory = GuestMemory::open(name, roots, &plan.base_path)?;
    let failed = |error| Refusal::os(&format!("saving the memory of VM {}", plan.vm_id), error);
    let mut writer = PagesWriter::new(file, memory.bytes()).map_err(failed)?;
    let (mut seen, mut base) = (chunk(), chunk());
    for run in memory.own_pages(CHUNK_PAGES).map_err(failed)? {
        let (seen, base) = (
            &mut seen[..run.count * PAGE_BYTES],
            &mut base[..run.count * PAGE_BYTES],
        );
        memory.read(run.first, seen).map_err(failed)?;
        memory.read_base(run.first, base).map_err(failed)?;
        let pairs = seen
            .chunks_exact(PAGE_BYTES)
            .zip(base.chunks_exact(PAGE_BYTES));
        for (index, (page, original)) in pairs.enumerate() {
            if page != original {
                writer.push(run.first + index, page).map_err(failed)?;
            }
        }
    }
    let pages = writer.finish().map_err(failed)?;
    // Its memory could have been taken away under the reading.
    ended_meanwhile(name, &plan.vm_id)?;
    Ok(proto::PagesSaved { pages })
}

/// Writes saved pages into the memory of a VM whose guest does not run yet.
pub fn load(plan: &PagesPlan, name: ProcessName, roots: &Roots) -> Result<(), Refusal> {
    let file = File::from(roots.open_file(&plan.pages_path, false)?);
    let memory = GuestMemory::open(name, roots, &plan.base_path)?;
    let reader = PagesReader::open(file, memory.bytes()).map_err(|flaw| {
        Refusal::invalid(format!("the saved memory {:?}: {flaw}", plan.pages_path))
    })?;
    let failed = |error| Refusal::os(&format!("loading the memory of VM {}", plan.vm_id), error);
    let mut buffer = chunk();
    for run in reader.runs(CHUNK_PAGES) {
        let pages = &mut buffer[..run.count * PAGE_BYTES];
        reader.read(&run, pages).map_err(failed)?;
        memory.write(run.first, pages).map_err(failed)?;
    }
    ended_meanwhile(name, &plan.vm_id)
}

fn chunk() -> Vec<u8> {
    vec![0; CHUNK_PAGES * PAGE_BYTES]
}

fn ended_meanwhile(name: ProcessName, vm_id: &VmId) -> Result<(), Refusal> {
    match ProcessName::of(name.pid) {
        Ok(now) if now == name => Ok(()),
        _ => Err(Refusal::new(
            ErrorCode::NotFound,
            format!("VM {vm_id} ended while its memory was worked on"),
        )),
    }
}
