//! Root keys in a file that only its user may read.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use ids::Entropy;
use zeroize::Zeroizing;

use crate::{
    Error,
    root::{KeyProvider, Root, Roots},
};

/// A greatest size of a root key file, in bytes.
const MOST_BYTES: u64 = 64 * 1024;

/// Root keys in a file. Its mode has to be 0600 (or 0400), or 0440 with a group of this
/// process, as Kubernetes mounts secrets; anything wider is refused.
#[derive(Clone, Debug)]
pub struct FileRoot {
    path: PathBuf,
}

impl FileRoot {
    /// Of the file at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Writes a new file with one new key, mode 0600.
    ///
    /// # Errors
    /// [`Error::Root`] if the file is already there or cannot be written.
    pub fn create(path: impl Into<PathBuf>, entropy: &dyn Entropy) -> Result<Self, Error> {
        let this = Self::new(path);
        write_new(&this.path, &Root::generate(entropy).line())
            .and_then(|()| sync_directory(&this.path))
            .map_err(|error| this.failed("cannot be created", &error))?;
        Ok(this)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, what: &str, error: &std::io::Error) -> Error {
        Error::Root(format!("{} {what}: {error}", self.path.display()))
    }

    fn read(&self) -> Result<(Roots, Metadata), Error> {
        let file = File::open(&self.path).map_err(|e| self.failed("cannot be opened", &e))?;
        // Of the opened file, so that it cannot be exchanged between the check and the reading.
        let metadata = file.metadata().map_err(|e| self.failed("cannot be examined", &e))?;
        permissions::check(&metadata)
            .map_err(|why| Error::Root(format!("{} {why}", self.path.display())))?;
        if !metadata.is_file() || metadata.len() > MOST_BYTES {
            let path = self.path.display();
            return Err(Error::Root(format!("{path} is not a file of at most {MOST_BYTES} bytes")));
        }
        let mut source = Zeroizing::new(String::with_capacity(MOST_BYTES as usize));
        file.take(MOST_BYTES)
            .read_to_string(&mut source)
            .map_err(|e| self.failed("cannot be read", &e))?;
        let roots = Roots::parse(&source).map_err(|error| match error {
            Error::Root(why) => Error::Root(format!("{}: {why}", self.path.display())),
            other => other,
        })?;
        Ok((roots, metadata))
    }

    /// Puts the given keys in the place of the file's, at once or not at all.
    fn replace(&self, metadata: &Metadata, roots: &[&Root]) -> Result<(), Error> {
        permissions::writable(metadata)
            .map_err(|why| Error::Root(format!("{} {why}", self.path.display())))?;
        let mut source = Zeroizing::new(String::with_capacity(roots.len() * 128));
        for root in roots {
            source.push_str(&root.line());
        }
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        // One that a crash left behind was never in use.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(self.failed("cannot be replaced", &error));
            }
            _ => {}
        }
        write_new(&beside, &source)
            .and_then(|()| fs::rename(&beside, &self.path))
            .and_then(|()| sync_directory(&self.path))
            .map_err(|error| self.failed("cannot be replaced", &error))
    }
}

impl KeyProvider for FileRoot {
    fn roots(&self) -> Result<Roots, Error> {
        self.read().map(|(roots, _)| roots)
    }

    fn renew(&self, entropy: &dyn Entropy) -> Result<(), Error> {
        let (roots, metadata) = self.read()?;
        let new = Root::generate(entropy);
        let all: Vec<_> = [&new, &roots.current].into_iter().chain(&roots.older).collect();
        self.replace(&metadata, &all)
    }

    fn retire(&self) -> Result<(), Error> {
        let (roots, metadata) = self.read()?;
        self.replace(&metadata, &[&roots.current])
    }
}

fn write_new(path: &Path, source: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(source.as_bytes())?;
    file.sync_all()
}

fn sync_directory(of: &Path) -> std::io::Result<()> {
    match of.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(unix)]
mod permissions {
    use std::{fs::Metadata, os::unix::fs::MetadataExt as _};

    /// Who this process is, as far as files are concerned.
    pub(super) struct Process {
        pub(super) user: u32,
        pub(super) groups: Vec<u32>,
    }

    impl Process {
        /// From `/proc/self/status`, since the standard library does not tell. `None` where
        /// there is no such file: then no group matches.
        fn current() -> Option<Self> {
            let status = std::fs::read_to_string("/proc/self/status").ok()?;
            let numbers = |name: &str| -> Option<Vec<u32>> {
                let line = status.lines().find_map(|line| line.strip_prefix(name))?;
                line.split_whitespace().map(|word| word.parse().ok()).collect()
            };
            // Real, effective, saved, file system: the last is what opening a file goes by.
            let user = *numbers("Uid:")?.get(3)?;
            let group = *numbers("Gid:")?.get(3)?;
            let mut groups = numbers("Groups:")?;
            groups.push(group);
            Some(Self { user, groups })
        }
    }

    pub(super) fn check(file: &Metadata) -> Result<(), String> {
        judge(file.mode() & 0o7777, file.uid(), file.gid(), Process::current().as_ref())
    }

    pub(super) fn judge(
        mode: u32,
        owner: u32,
        group: u32,
        process: Option<&Process>,
    ) -> Result<(), String> {
        if process.is_some_and(|process| owner != process.user && owner != 0) {
            return Err(format!(
                "belongs to user {owner}, who could exchange it; chown it to the user that runs bulkhead"
            ));
        }
        if mode & !0o600 == 0 {
            return Ok(());
        }
        if mode & !0o440 != 0 {
            return Err(format!(
                "has mode {mode:04o}, which lets others at it; chmod it to 0600 (or 0440 with a group of the user that runs bulkhead)"
            ));
        }
        if process.is_some_and(|process| process.groups.contains(&group)) {
            return Ok(());
        }
        Err(format!(
            "has mode {mode:04o} with group {group}, which is not a group of this process; chmod it to 0600"
        ))
    }

    pub(super) fn writable(file: &Metadata) -> Result<(), &'static str> {
        if file.mode() & 0o200 == 0 {
            return Err(
                "is read-only, as a mounted secret is: put the new line first in its source and leave the old one after it, rotate, then remove the old line",
            );
        }
        Ok(())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn modes_owners_and_groups() {
            let us = Process { user: 1_000, groups: vec![1_000, 2_000] };
            for (mode, owner, group, good) in [
                (0o600, 1_000, 1_000, true),
                (0o400, 1_000, 9, true),
                (0o440, 0, 2_000, true),
                (0o440, 0, 9, false),
                (0o640, 1_000, 2_000, false),
                (0o460, 1_000, 2_000, false),
                (0o444, 0, 2_000, false),
                (0o604, 1_000, 1_000, false),
                (0o700, 1_000, 1_000, false),
                (0o4600, 1_000, 1_000, false),
                (0o600, 1_001, 1_000, false),
            ] {
                let judged = judge(mode, owner, group, Some(&us));
                assert_eq!(judged.is_ok(), good, "{mode:o} {owner}:{group} {judged:?}");
            }
            assert!(judge(0o600, 7, 7, None).is_ok());
            assert!(judge(0o440, 7, 7, None).is_err());
            assert!(Process::current().is_some() || !cfg!(target_os = "linux"));
        }
    }
}

#[cfg(not(unix))]
mod permissions {
    use std::fs::Metadata;

    pub(super) fn check(_: &Metadata) -> Result<(), String> {
        Err("cannot be checked for its permissions on this system; use the environment".into())
    }

    pub(super) fn writable(_: &Metadata) -> Result<(), &'static str> {
        Ok(())
    }
}
