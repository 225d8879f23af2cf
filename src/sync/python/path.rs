//! Equality of the paths of Python's `pathlib`.
//!
//! A path is pickled as its parts, and Python 3.13 keeps them as they were given: `Path('a') / 'b'` is
//! `('a', 'b')`, and `Path('a/b')` is `('a/b',)`. The two are equal; so are pure and concrete paths of one
//! flavour.

use crate::pickle::Instance;
use crate::value::Value;

/// A normalized path: equal paths have the same text.
pub(super) struct Path {
    pub(super) is_posix: bool,
    pub(super) text: String,
}

/// The path that an instance is, if it is one.
pub(super) fn of(instance: &Instance) -> Option<Path> {
    let Instance { module, name, args, state: None, items: None, .. } = instance else {
        return None;
    };
    if !matches!(module.as_str(), "pathlib" | "pathlib._local") {
        return None;
    }
    let is_posix = match name.as_str() {
        "PosixPath" | "PurePosixPath" => true,
        "WindowsPath" | "PureWindowsPath" => false,
        _ => return None,
    };
    let parts: Option<Vec<&str>> = args.iter().map(Value::as_str).collect();
    Some(Path { is_posix, text: join(&parts?, is_posix) })
}

/// Joins parts as `os.path.join` does, and normalizes `a//b/./c` to `a/b/c`.
fn join(parts: &[&str], is_posix: bool) -> String {
    let separator = if is_posix { "/" } else { "\\" };
    let (mut drive, mut root, mut names) = (String::new(), "", Vec::new());
    // Windows has two separators, and ignores case.
    let unify = |part: &&str| {
        if is_posix { (*part).to_owned() } else { part.replace('/', separator).to_lowercase() }
    };
    for part in &parts.iter().map(unify).collect::<Vec<_>>() {
        let (its_drive, its_root, rest) =
            if is_posix { split_posix(part) } else { split_windows(part) };
        if !its_root.is_empty() || !its_drive.is_empty() && its_drive != drive {
            if !its_drive.is_empty() {
                its_drive.clone_into(&mut drive);
            }
            root = its_root;
            names.clear();
        }
        let its_names = rest.split(separator).filter(|name| !matches!(*name, "" | "."));
        names.extend(its_names.map(str::to_owned));
    }
    format!("{drive}{root}{}", names.join(separator))
}

/// The drive, the root and the rest of a path. Two slashes at its beginning are another root than one.
fn split_posix(path: &str) -> (&str, &'static str, &str) {
    let rest = path.trim_start_matches('/');
    let root = match path.len() - rest.len() {
        0 => "",
        2 => "//",
        _ => "/",
    };
    ("", root, rest)
}

/// A drive is a letter with a colon, or a server and its share, which has a root in any case.
fn split_windows(path: &str) -> (&str, &'static str, &str) {
    let mut separators = path.match_indices('\\').map(|(at, _)| at);
    let end = match (path.strip_prefix("\\\\"), path.as_bytes()) {
        (Some(_), _) => separators.nth(3).unwrap_or(path.len()),
        (None, [_, b':', ..]) => 2,
        _ => 0,
    };
    let (drive, rest) = path.split_at_checked(end).unwrap_or((path, ""));
    let is_rooted = end > 2 || rest.starts_with('\\');
    (drive, if is_rooted { "\\" } else { "" }, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn posix_paths_join_as_in_python() {
        for (parts, text) in [
            (&["a", "b"][..], "a/b"),
            (&["a/b"], "a/b"),
            (&["a//b/", ".", "./c"], "a/b/c"),
            (&["a", "..", "b"], "a/../b"),
            (&["a", "/b"], "/b"),
            (&["/", "a"], "/a"),
            (&["/a", ""], "/a"),
            (&["//a"], "//a"),
            (&["///a"], "/a"),
            (&[], ""),
            (&["."], ""),
        ] {
            assert_eq!(join(parts, true), text, "{parts:?}");
        }
    }

    #[test]
    fn windows_paths_join_as_in_python() {
        for (parts, text) in [
            (&["c:/A", "b"][..], r"c:\a\b"),
            (&["C:\\", "a", "b"], r"c:\a\b"),
            (&["c:", "a"], "c:a"),
            (&["c:/a", "/b"], r"c:\b"),
            (&["c:/a", "c:b"], r"c:\a\b"),
            (&["c:/a", "d:b"], "d:b"),
            (&[r"\\server\share", "a"], r"\\server\share\a"),
            (&[r"\\server\share\", "a"], r"\\server\share\a"),
            (&["a", "b"], r"a\b"),
        ] {
            assert_eq!(join(parts, false), text, "{parts:?}");
        }
    }
}
