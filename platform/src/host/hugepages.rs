//! Hugepages of all sizes, as the kernel counts them.

use std::fs;
use std::path::{Path, PathBuf};

use super::HostError;

/// Pages of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hugepages {
    /// KiB of a page.
    pub size_kib: u64,
    /// Pages there are.
    pub total: u64,
    /// Pages that nobody holds or has reserved.
    pub free: u64,
    /// Where to write how many there shall be.
    pub file: PathBuf,
}

/// The sizes that the kernel has, smallest first; empty on a kernel without hugepages.
pub fn sizes(root: &Path) -> Vec<Hugepages> {
    sizes_in(&root.join("sys/kernel/mm/hugepages"))
}

/// The same on one NUMA node.
pub fn sizes_on(root: &Path, node: usize) -> Vec<Hugepages> {
    sizes_in(&root.join(format!("sys/devices/system/node/node{node}/hugepages")))
}

fn sizes_in(root: &Path) -> Vec<Hugepages> {
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let mut sizes: Vec<Hugepages> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let size_kib = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let dir = entry.path();
            let reserved = number(&dir.join("resv_hugepages")).unwrap_or(0);
            Some(Hugepages {
                size_kib,
                total: number(&dir.join("nr_hugepages"))?,
                free: number(&dir.join("free_hugepages"))?.saturating_sub(reserved),
                file: dir.join("nr_hugepages"),
            })
        })
        .collect();
    sizes.sort_by_key(|size| size.size_kib);
    sizes
}

/// Whether each node has what is needed there: MiB by node. With one entry any node will do.
///
/// # Errors
/// Less than that is free, one error a node.
pub fn check(root: &Path, needed_mib: &[u64]) -> Vec<HostError> {
    let here = |node: usize| if needed_mib.len() > 1 { sizes_on(root, node) } else { sizes(root) };
    let needed = needed_mib.iter().enumerate();
    needed
        .filter_map(|(node, needed)| {
            let name = (needed_mib.len() > 1).then_some(node);
            check_in(&here(node), *needed, name, root).err()
        })
        .collect()
}

fn check_in(sizes: &[Hugepages], needed_mib: u64, node: Option<usize>, root: &Path) -> Result<(), HostError> {
    let free_mib = sizes.iter().map(|size| size.free * size.size_kib / 1024).sum();
    if free_mib >= needed_mib {
        return Ok(());
    }
    let smallest = sizes.first();
    let size_kib = smallest.map_or(2048, |size| size.size_kib.max(1));
    // Enough on top of what others hold already.
    let held = smallest.map_or(0, |size| size.total - size.free.min(size.total));
    let file = smallest.map(|size| Path::new("/").join(size.file.strip_prefix(root).unwrap_or(&size.file)));
    Err(HostError::Hugepages {
        needed_mib,
        free_mib,
        on: node.map(|node| format!(" on NUMA node {node}")).unwrap_or_default(),
        pages: held + (needed_mib * 1024).div_ceil(size_kib),
        file: file.unwrap_or_else(|| PathBuf::from("/proc/sys/vm/nr_hugepages")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(root: &Path, kib: u64, total: u64, free: u64, reserved: u64) {
        let dir = root.join(format!("hugepages-{kib}kB"));
        fs::create_dir(&dir).unwrap();
        for (file, value) in [("nr_hugepages", total), ("free_hugepages", free), ("resv_hugepages", reserved)]
        {
            fs::write(dir.join(file), format!("{value}\n")).unwrap();
        }
    }

    #[test]
    fn free_pages_of_all_sizes_count() {
        let dir = tempfile::tempdir().unwrap();
        size(dir.path(), 1_048_576, 1, 1, 0);
        size(dir.path(), 2048, 100, 40, 10);
        let check = |needed| check_in(&sizes_in(dir.path()), needed, None, dir.path());
        assert!(check(1024 + 60).is_ok());
        let err = check(1024 + 61).unwrap_err();
        let HostError::Hugepages { free_mib, pages, .. } = &err else { panic!("{err}") };
        // 70 pages are held or reserved, 543 more make 1085 MiB.
        assert_eq!((*free_mib, *pages), (1084, 70 + 543));
        assert!(
            err.to_string().contains("echo 613 > ")
                && err.to_string().contains("hugepages-2048kB/nr_hugepages")
        );
    }

    #[test]
    fn a_kernel_without_hugepages_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let err = check(&dir.path().join("absent"), &[256]).remove(0).to_string();
        assert!(err.contains("0 MiB are free: echo 128 > /proc/sys/vm/nr_hugepages"), "{err}");
    }
}
