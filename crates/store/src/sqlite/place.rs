//! Where the files are, who has them open, and how they were left.

use std::{
    fs::{self, TryLockError},
    path::{Path, PathBuf},
};

use super::connection::sync_dir;
use crate::{Error, File};

/// Left in a directory while a restore fills it.
pub(crate) const RESTORING: &str = "restoring";

/// Where a store's files are.
#[derive(Clone, Debug)]
pub(crate) enum Layout {
    /// A directory with a file for each [`File`].
    Directory(PathBuf),
    /// One file, for [`File::Core`].
    Single(PathBuf),
}

impl Layout {
    /// Where this file is, if this layout has it.
    pub(super) fn path(&self, file: File) -> Option<PathBuf> {
        match (self, file) {
            (Self::Directory(dir), _) => Some(dir.join(format!("{}.db", file.name()))),
            (Self::Single(path), File::Core) => Some(path.clone()),
            (Self::Single(_), _) => None,
        }
    }

    fn dir(&self) -> &Path {
        let dir = match self {
            Self::Directory(dir) => dir,
            Self::Single(path) => path.parent().unwrap_or(Path::new(".")),
        };
        if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
    }

    /// What people know it by.
    fn named(&self) -> PathBuf {
        match self {
            Self::Directory(path) | Self::Single(path) => path.clone(),
        }
    }

    fn beside(&self, name: &str) -> PathBuf {
        match self {
            Self::Directory(dir) => dir.join(name),
            Self::Single(path) => {
                let mut beside = path.as_os_str().to_owned();
                beside.push(".");
                beside.push(name);
                beside.into()
            }
        }
    }
}

/// A store's place, held by this process.
#[derive(Debug)]
pub(super) struct Place {
    layout: Layout,
    /// Held until dropped. None if the disk does not even let us lock.
    lock: Option<fs::File>,
    pub(super) read_only: bool,
    /// The last process ended in order and nobody touched the files since.
    pub(super) clean: bool,
}

impl Place {
    /// Takes the place: makes the directory, locks out other processes, and takes the marker
    /// of the last clean shutdown away.
    pub(super) fn take(layout: Layout, read_only: bool) -> Result<Self, Error> {
        if !read_only {
            make_dir(layout.dir())?;
        }
        let mut place = Self { layout, lock: None, read_only, clean: false };
        place.lock()?;
        if place.layout.dir().join(RESTORING).exists() {
            return Err(Error::HalfRestored { dir: place.layout.named() });
        }
        let marker = place.layout.beside("clean");
        let left = fs::read_to_string(&marker).ok();
        place.clean = left.is_some_and(|left| left == place.sizes());
        if !place.read_only {
            match fs::remove_file(&marker) {
                Ok(()) => sync_dir(Some(place.layout.dir()))?,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("remove a file", &e)),
            }
        }
        Ok(place)
    }

    /// Locks the place, or finds that it can only be read.
    fn lock(&mut self) -> Result<(), Error> {
        let path = self.layout.beside("lock");
        let opened = if self.read_only {
            fs::File::open(&path)
        } else {
            fs::File::options().create(true).append(true).open(&path)
        };
        let lock = match opened.map_err(|e| (Error::io("make a file", &e), e.kind())) {
            Ok(lock) => lock,
            Err((_, std::io::ErrorKind::NotFound)) if self.read_only => return Ok(()),
            Err((Error::ReadOnly, _)) if self.has_core() => {
                tracing::warn!(place = %self.layout.named().display(), "read-only: writes fail");
                self.read_only = true;
                return Ok(());
            }
            Err((error, _)) => return Err(error),
        };
        let locked = if self.read_only { lock.try_lock_shared() } else { lock.try_lock() };
        match locked {
            Ok(()) => self.lock = Some(lock),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::InUse { dir: self.layout.named() });
            }
            Err(TryLockError::Error(e)) => return Err(Error::io("lock a file", &e)),
        }
        Ok(())
    }

    pub(super) fn has_core(&self) -> bool {
        self.layout.path(File::Core).is_some_and(|path| path.exists())
    }

    /// Leaves it in order: the marker says how.
    pub(super) fn leave_clean(&self) -> Result<(), Error> {
        if self.read_only {
            return Ok(());
        }
        let marker = self.layout.beside("clean");
        let fail = |e: std::io::Error| Error::io("write a file", &e);
        let file = fs::File::create(&marker).map_err(fail)?;
        std::io::Write::write_all(&mut &file, self.sizes().as_bytes()).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        sync_dir(Some(self.layout.dir()))
    }

    /// The files, their sizes and how much log is not folded in: what the marker holds.
    fn sizes(&self) -> String {
        let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        let mut sizes = String::new();
        for file in File::ALL {
            if let Some(path) = self.layout.path(file)
                && path.exists()
            {
                let mut log = path.as_os_str().to_owned();
                log.push("-wal");
                let (size, log) = (size(&path), size(Path::new(&log)));
                sizes.push_str(&format!("{file} {size} {log}\n"));
            }
        }
        sizes
    }
}

/// Makes a directory that its owner alone may enter.
pub(crate) fn make_dir(dir: &Path) -> Result<(), Error> {
    let mut make = fs::DirBuilder::new();
    make.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut make, 0o700);
    match make.create(dir) {
        Ok(()) => Ok(()),
        // It may be there already on a disk that is read-only.
        Err(_) if dir.is_dir() => Ok(()),
        Err(e) => Err(Error::io("make a directory", &e)),
    }
}
