//! F1. The CPU quota of this process: what its cgroup and all ancestors of it allow.
//!
//! # What it reads
//!
//! ```text
//! /proc/self/cgroup       where the process stands in each hierarchy
//!     0::/user.slice/app                   version 2: id 0, no controllers
//!     4:cpu,cpuacct:/docker/abc            version 1: a hierarchy with the controller `cpu`
//!
//! /proc/self/mountinfo    where each hierarchy can be seen, and from which of its groups down
//!     35 24 0:30 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate
//!                ^ ^                          ^ ^               ^
//!             root mount point        separator type            options of version 1: its controllers
//!
//! <group>/cpu.max                                            version 2: "150000 100000", "max 100000"
//! <group>/cpu.cfs_quota_us  and  <group>/cpu.cfs_period_us   version 1: "150000" and "100000", "-1"
//! ```
//!
//! Both versions may be mounted at once (systemd's hybrid set-up); the controller `cpu` is in one of
//! them, and the other has no such files. All are looked at, so nothing has to be guessed.
//!
//! # Algorithm
//!
//! For each mount of a hierarchy in which the process stands: if its root is an ancestor of the process's
//! group (or the group itself), walk from the group up to the mount point and read the quota at each
//! step. The answer is the least of all, rounded up to whole cores.
//!
//! *Every ancestor* counts, for the kernel charges each of them: a container with 8 cores in a pod with 2
//! has 2. (Go 1.25 reads the process's own group only: golang/go#81180.) In a cgroup namespace both the
//! group and the mount's root are given relative to the namespace's root: what lies above it cannot be
//! seen, and does not count.
//!
//! # Invariants
//!
//! 1. Pure: files are reached only through the closure `read`, which the tests replace.
//! 2. What is missing, unreadable or malformed is no limit. A cgroup outside the visible tree (a path
//!    with `..`, a root that is no ancestor) is not looked for elsewhere: a wrong limit would be worse.
#![forbid(unsafe_code)]

use std::path::{Component, Path, PathBuf};

/// A cgroup hierarchy's version: which files say the quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A visible part of a hierarchy: a line of mountinfo.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    version: Version,
    /// The group that is seen at `point`.
    root: PathBuf,
    point: PathBuf,
}

/// The tightest quota, in whole cores rounded up, at least 1; `None` if there is none. `read` gives the
/// text of a file, or `None`.
pub(super) fn quota_cores(read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    let groups = parse_groups(&read(Path::new("/proc/self/cgroup"))?);
    let mounts = parse_mounts(&read(Path::new("/proc/self/mountinfo"))?);
    let mut tightest = None;
    for (version, group) in &groups {
        for mount in mounts.iter().filter(|mount| mount.version == *version) {
            for directory in ancestors_in(mount, group) {
                let quota = match version {
                    Version::V1 => quota_v1(&directory, &read),
                    Version::V2 => quota_v2(&directory, &read),
                };
                tightest = tightest.into_iter().chain(quota).min();
            }
        }
    }
    tightest
}

/// The groups of the process in the hierarchies that can hold a CPU quota, from `/proc/self/cgroup`.
fn parse_groups(text: &str) -> Vec<(Version, PathBuf)> {
    text.lines()
        .filter_map(|line| {
            // A group's name may contain colons; the controllers' names do not.
            let mut fields = line.splitn(3, ':');
            let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let version = match (id, controllers) {
                ("0", "") => Version::V2,
                _ if controllers.split(',').any(|name| name == "cpu") => Version::V1,
                _ => return None,
            };
            Some((version, PathBuf::from(path)))
        })
        .collect()
}

/// The mounts of such hierarchies, from `/proc/self/mountinfo`.
fn parse_mounts(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_mount).collect()
}

fn parse_mount(line: &str) -> Option<Mount> {
    // Optional fields make the first half vary in length, so the lone hyphen is the landmark. It cannot
    // be mistaken: spaces inside names are escaped.
    let (ours, filesystem) = line.split_once(" - ")?;
    let mut ours = ours.split(' ').skip(3);
    let (root, point) = (ours.next()?, ours.next()?);
    let mut filesystem = filesystem.split(' ');
    let (kind, _source, options) = (filesystem.next()?, filesystem.next()?, filesystem.next()?);
    let version = match kind {
        "cgroup2" => Version::V2,
        "cgroup" if options.split(',').any(|name| name == "cpu") => Version::V1,
        _ => return None,
    };
    Some(Mount { version, root: unescape(root).into(), point: unescape(point).into() })
}

/// Undoes mountinfo's escapes: a space, tab, newline or backslash stands there as `\` and three octal
/// digits. Anything else stays as it is.
fn unescape(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        result.push_str(&rest[..at]);
        rest = &rest[at..];
        let code = rest.get(1..4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        let (character, length) = match code {
            Some(byte) if byte.is_ascii() => (char::from(byte), 4),
            _ => ('\\', 1),
        };
        result.push(character);
        rest = &rest[length..];
    }
    result + rest
}

/// The directories of `group` and of its ancestors up to the root of `mount`, as seen through it; none if
/// the group is not below that root.
fn ancestors_in(mount: &Mount, group: &Path) -> Vec<PathBuf> {
    let odd = |path: &Path| path.components().any(|part| part == Component::ParentDir);
    match group.strip_prefix(&mount.root) {
        // Invariant 2: `..` leads out of the namespace, to where no name is known.
        Ok(below) if !odd(group) => below.ancestors().map(|part| mount.point.join(part)).collect(),
        _ => Vec::new(),
    }
}

fn quota_v2(directory: &Path, read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    let text = read(&directory.join("cpu.max"))?;
    let mut words = text.split_whitespace();
    cores(words.next()?, words.next()?)
}

fn quota_v1(directory: &Path, read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    let quota = read(&directory.join("cpu.cfs_quota_us"))?;
    let period = read(&directory.join("cpu.cfs_period_us"))?;
    cores(quota.trim(), period.trim())
}

/// `quota / period`, rounded up, at least 1. The words for "no limit" (`max` and `-1`) are no numbers of
/// this kind, like everything malformed.
fn cores(quota: &str, period: &str) -> Option<usize> {
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    if period == 0 {
        return None;
    }
    Some(usize::try_from(quota.div_ceil(period)).unwrap_or(usize::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file tree: pairs of path and text.
    type Fixture<'a> = &'a [(&'a str, &'a str)];

    fn quota(files: Fixture<'_>) -> Option<usize> {
        quota_cores(|path| {
            files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| text.to_string())
        })
    }

    const V2: (&str, &str) = (
        "/proc/self/mountinfo",
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
         35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
    );
    const V1: (&str, &str) = (
        "/proc/self/mountinfo",
        "31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n\
         32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:10 master:3 - cgroup cgroup rw,cpu,cpuacct\n\
         33 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n",
    );

    #[test]
    fn no_files_are_no_limit() {
        assert_eq!(quota(&[]), None);
        assert_eq!(quota(&[("/proc/self/cgroup", "0::/\n")]), None);
        assert_eq!(quota(&[V2]), None);
        assert_eq!(quota(&[V2, ("/proc/self/cgroup", "0::/a\n")]), None);
    }

    #[test]
    fn version_2_reads_cpu_max_and_rounds_up() {
        let with =
            |max| quota(&[V2, ("/proc/self/cgroup", "0::/app\n"), ("/sys/fs/cgroup/app/cpu.max", max)]);
        assert_eq!(with("100000 100000\n"), Some(1));
        assert_eq!(with("150000 100000\n"), Some(2));
        assert_eq!(with("200000 100000\n"), Some(2));
        assert_eq!(with("200001 100000\n"), Some(3));
        assert_eq!(with("1000 100000\n"), Some(1));
        assert_eq!(with("max 100000\n"), None);
    }

    #[test]
    fn version_1_reads_the_quota_over_the_period() {
        let with = |quota_us, period_us| {
            quota(&[
                V1,
                ("/proc/self/cgroup", "5:cpuset:/elsewhere\n4:cpu,cpuacct:/app\n1:name=systemd:/x\n"),
                ("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us", quota_us),
                ("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us", period_us),
            ])
        };
        assert_eq!(with("250000\n", "100000\n"), Some(3));
        assert_eq!(with("50000\n", "50000\n"), Some(1));
        assert_eq!(with("-1\n", "100000\n"), None);
        assert_eq!(with("250000\n", "0\n"), None);
    }

    #[test]
    fn the_tightest_ancestor_decides() {
        let mut files = vec![
            V2,
            ("/proc/self/cgroup", "0::/pod/container/init\n"),
            ("/sys/fs/cgroup/pod/container/init/cpu.max", "max 100000"),
            ("/sys/fs/cgroup/pod/container/cpu.max", "800000 100000"),
            ("/sys/fs/cgroup/pod/cpu.max", "200000 100000"),
        ];
        assert_eq!(quota(&files), Some(2));
        // Nor does it end at the first group without the file.
        files.remove(3);
        assert_eq!(quota(&files), Some(2));
        // The group at the mount point counts as well: it is not always the root of the machine.
        files.push(("/sys/fs/cgroup/cpu.max", "100000 100000"));
        assert_eq!(quota(&files), Some(1));
        // A sibling does not.
        files.pop();
        files.push(("/sys/fs/cgroup/pod/other/cpu.max", "100000 100000"));
        assert_eq!(quota(&files), Some(2));
    }

    #[test]
    fn the_tightest_ancestor_of_version_1_decides() {
        let files = [
            V1,
            ("/proc/self/cgroup", "4:cpu,cpuacct:/pod/container\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/pod/container/cpu.cfs_quota_us", "800000"),
            ("/sys/fs/cgroup/cpu,cpuacct/pod/container/cpu.cfs_period_us", "100000"),
            ("/sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_quota_us", "300000"),
            ("/sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_period_us", "100000"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000"),
        ];
        assert_eq!(quota(&files), Some(3));
    }

    #[test]
    fn in_a_hybrid_set_up_the_hierarchy_with_the_controller_counts() {
        let mounts = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let groups = "1:cpu:/app\n0::/system.slice/app\n";
        let v1 = [
            ("/proc/self/mountinfo", mounts),
            ("/proc/self/cgroup", groups),
            ("/sys/fs/cgroup/cpu/app/cpu.cfs_quota_us", "400000"),
            ("/sys/fs/cgroup/cpu/app/cpu.cfs_period_us", "100000"),
        ];
        assert_eq!(quota(&v1), Some(4));
        let v2 = [
            ("/proc/self/mountinfo", mounts),
            ("/proc/self/cgroup", groups),
            ("/sys/fs/cgroup/unified/system.slice/cpu.max", "500000 100000"),
        ];
        assert_eq!(quota(&v2), Some(5));
    }

    #[test]
    fn at_the_root_of_a_cgroup_namespace_the_mount_point_is_the_group() {
        let files = [V2, ("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/cpu.max", "150000 100000\n")];
        assert_eq!(quota(&files), Some(2));
    }

    #[test]
    fn a_container_without_a_namespace_sees_its_group_at_the_mount_point() {
        let mounts = "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n";
        let mut files = vec![
            ("/proc/self/mountinfo", mounts),
            ("/proc/self/cgroup", "4:cpu:/docker/abc/job\n"),
            ("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "600000"),
            ("/sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
        ];
        assert_eq!(quota(&files), Some(2));
        // A mount that shows another group says nothing, not even if its name begins alike.
        files[1].1 = "4:cpu:/docker/abcd/job\n";
        assert_eq!(quota(&files), None);
    }

    #[test]
    fn a_second_mount_that_shows_more_ancestors_is_used() {
        let files = [
            (
                "/proc/self/mountinfo",
                "50 31 0:30 /pod/app /inner rw - cgroup2 cgroup2 rw\n51 31 0:30 / /outer rw - cgroup2 cgroup2 rw\n",
            ),
            ("/proc/self/cgroup", "0::/pod/app\n"),
            ("/inner/cpu.max", "900000 100000"),
            ("/outer/pod/cpu.max", "300000 100000"),
        ];
        assert_eq!(quota(&files), Some(3));
    }

    #[test]
    fn a_group_outside_the_namespace_is_not_looked_for() {
        let files = [
            V2,
            ("/proc/self/cgroup", "0::/../other\n"),
            ("/sys/fs/cgroup/../other/cpu.max", "100000 100000"),
            ("/sys/fs/cgroup/other/cpu.max", "100000 100000"),
            ("/sys/fs/cgroup/cpu.max", "100000 100000"),
        ];
        assert_eq!(quota(&files), None);
    }

    #[test]
    fn names_may_contain_colons_and_escaped_spaces() {
        let files = [
            ("/proc/self/mountinfo", "35 24 0:30 / /my\\040cgroups rw - cgroup2 cgroup2 rw\n"),
            ("/proc/self/cgroup", "0::/a:b\n"),
            ("/my cgroups/a:b/cpu.max", "300000 100000"),
        ];
        assert_eq!(quota(&files), Some(3));
        assert_eq!(unescape(r"a\134b\011"), "a\\b\t");
        assert_eq!(unescape(r"\9xy\"), r"\9xy\");
        assert_eq!(unescape("\\ü\\040"), "\\ü ");
    }

    #[test]
    fn malformed_text_is_no_limit() {
        for max in ["", "\n", "100000", "x y", "-5 100000", "100000 0", "1e5 1e5", "99999999999999999999 1"] {
            let files = [V2, ("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/cpu.max", max)];
            assert_eq!(quota(&files), None, "{max:?}");
        }
        for groups in ["", "0", "0:", "::\n:::", "x:cpuset:/"] {
            let files = [V2, ("/proc/self/cgroup", groups), ("/sys/fs/cgroup/cpu.max", "100000 100000")];
            assert_eq!(quota(&files), None, "{groups:?}");
        }
        for mounts in ["", " - ", "35 24 0:30 / - cgroup2 cgroup2 rw", "35 24 - cgroup2 x", "\\ - \\"] {
            let files = [
                ("/proc/self/mountinfo", mounts),
                ("/proc/self/cgroup", "0::/\n"),
                ("/sys/fs/cgroup/cpu.max", "100000 100000"),
            ];
            assert_eq!(quota(&files), None, "{mounts:?}");
        }
    }

    #[test]
    fn a_huge_quota_does_not_overflow() {
        let files =
            [V2, ("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/cpu.max", "18446744073709551615 1")];
        assert_eq!(quota(&files), Some(u64::MAX as usize));
    }
}
