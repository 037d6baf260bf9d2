//! Process trees, from Linux's /proc.

use std::collections::HashMap;
use std::fs;

use rustix::process::Pid;

/// All descendants of `root`.
pub fn descendants(root: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parents = pids.filter_map(|pid| Some((pid, parent(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)));
    below(root.as_raw_nonzero().get(), &parents.collect()).into_iter().filter_map(Pid::from_raw).collect()
}

/// The parent's id in /proc/PID/stat. The program's name before it can contain spaces and brackets.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn below(root: i32, parents: &HashMap<i32, i32>) -> Vec<i32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&above) = found.get(next) {
        found.extend(parents.iter().filter(|(pid, parent)| **parent == above && **pid != above).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_after_any_program_name() {
        assert_eq!(parent("42 (a b) ) S 7 42 42 0"), Some(7));
        assert_eq!(parent("42 (python3) R 1 42"), Some(1));
        assert_eq!(parent("nothing"), None);
    }

    #[test]
    fn descendants_of_all_depths_are_found() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 5)]);
        let mut found = below(2, &parents);
        found.sort_unstable();
        assert_eq!(found, [3, 4]);
        assert!(below(6, &parents).is_empty());
    }
}
