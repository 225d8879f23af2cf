//! Names that the owner of a guard allows.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::error::{Error, Result};

/// `MODULE.NAME`; in the name, `*` stands for any characters.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    module: String,
    name: String,
}

/// Modules whose names the guard knows itself. A `*` would allow `builtins.eval`.
const OWN: [&str; 3] = ["builtins", "_codecs", "multiprocessing.managers"];

/// The modules of the standard library of Python 3.8 to 3.14, without those that begin with an underscore. A module
/// that imports one of them has its name, too.
const STANDARD_NAMES: &str = "abc aifc annotationlib antigravity argparse array ast asynchat asyncio asyncore atexit \
    audioop base64 bdb binascii binhex bisect builtins bz2 cProfile calendar cgi cgitb chunk cmath cmd code codecs codeop \
    collections colorsys compileall compression concurrent configparser contextlib contextvars copy copyreg crypt csv \
    ctypes curses dataclasses datetime dbm decimal difflib dis distutils doctest dummy_threading email encodings ensurepip \
    enum errno faulthandler fcntl filecmp fileinput fnmatch formatter fractions ftplib functools gc genericpath getopt \
    getpass gettext glob graphlib grp gzip hashlib heapq hmac html http idlelib imaplib imghdr imp importlib inspect io \
    ipaddress itertools json keyword lib2to3 linecache locale logging lzma macpath mailbox mailcap marshal math mimetypes \
    mmap modulefinder msilib msvcrt multiprocessing netrc nis nntplib nt ntpath nturl2path numbers opcode operator \
    optparse os ossaudiodev parser pathlib pdb pickle pickletools pipes pkgutil platform plistlib poplib posix posixpath \
    pprint profile pstats pty pwd py_compile pyclbr pydoc pydoc_data pyexpat queue quopri random re readline reprlib \
    resource rlcompleter runpy sched secrets select selectors shelve shlex shutil signal site smtpd smtplib sndhdr socket \
    socketserver spwd sqlite3 sre_compile sre_constants sre_parse ssl stat statistics string stringprep struct subprocess \
    sunau symbol symtable sys sysconfig syslog tabnanny tarfile telnetlib tempfile termios textwrap this threading time \
    timeit tkinter token tokenize tomllib trace traceback tracemalloc tty turtle turtledemo types typing unicodedata \
    unittest urllib uu uuid venv warnings wave weakref webbrowser winreg winsound wsgiref xdrlib xml xmlrpc zipapp zipfile \
    zipimport zlib zoneinfo";

static STANDARD: LazyLock<HashSet<&str>> =
    LazyLock::new(|| STANDARD_NAMES.split_whitespace().collect());

impl Pattern {
    pub(super) fn new(pattern: &str) -> Result<Self> {
        let invalid = |why: &str| Error::invalid(format!("pattern {pattern:?}: {why}"));
        let (module, name) = pattern
            .rsplit_once('.')
            .filter(|(module, name)| !module.is_empty() && !name.is_empty())
            .ok_or_else(|| invalid("expected MODULE.NAME, such as decimal.Decimal or numpy.*"))?;
        if module.contains('*') {
            return Err(invalid("only the name may have a *; write one pattern for each module"));
        }
        if name.contains('*') && OWN.contains(&module) {
            return Err(invalid(
                "a * here would allow functions that run code; name what you need",
            ));
        }
        Ok(Self { module: module.to_owned(), name: name.to_owned() })
    }

    /// Whether the attribute `name` of `module` is allowed.
    pub(super) fn matches(&self, module: &str, name: &str) -> bool {
        if self.module != module || name.contains('.') {
            return false;
        }
        if self.name == name {
            return true;
        }
        self.name.contains('*')
            && !name.starts_with('_')
            && matches(&self.name, name)
            && (module.rsplit('.').next() == Some(name) || !STANDARD.contains(name))
    }
}

/// Whether a name is what a pattern with `*` stands for.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    // Each part as early as can be, and the last one at the end.
    for part in parts {
        match left.split_once(part) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    left.ends_with(end)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn allowed(pattern: &str, module: &str, name: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(module, name)
    }

    #[test]
    fn pattern_matches_names_of_its_module_only() {
        assert!(allowed("numpy.*", "numpy", "ndarray"));
        assert!(allowed("numpy.*array", "numpy", "ndarray"));
        assert!(allowed("numpy.n*a*y", "numpy", "ndarray"));
        assert!(!allowed("numpy.n*a*z", "numpy", "ndarray"));
        assert!(!allowed("numpy.array*array", "numpy", "array"));
        assert!(!allowed("numpy.*", "numpy.core", "ndarray"));
        assert!(!allowed("numpy.*", "numpyx", "ndarray"));
        assert!(allowed("a.b.C", "a.b", "C"));
        assert!(!allowed("a.b.C", "a", "b.C"));
    }

    #[test]
    fn pattern_reaches_no_other_module() {
        for name in ["os.system", "os", "sys", "random", "_core", "__builtins__", "__dict__", "."] {
            assert!(!allowed("numpy.*", "numpy", name), "{name}");
        }
        assert!(allowed("datetime.*", "datetime", "datetime"));
        assert!(allowed("pkg._make", "pkg", "_make"));
    }

    #[test]
    fn pattern_without_module_or_name_is_invalid() {
        for pattern in
            ["", "*", "numpy", ".x", "numpy.", "*.x", "num*.x", "builtins.*", "_codecs.e*"]
        {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }
}
