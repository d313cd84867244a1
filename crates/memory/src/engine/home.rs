//! Where an index lives: a directory for each tenant's environment, in it one for each
//! collection, in it a stamp and the files of a generation. All of it is disposable.
//!
//! Nothing here follows a symbolic link: there are none of ours.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use super::{forget, stamp};

/// Bytes that are zero together or not.
const PAGE: usize = 4_096;
const ZEROS: [u8; PAGE] = [0; PAGE];
/// Pages that are read at once.
const PAGES: usize = 64;

const STAMP: &str = "stamp";
const UNFINISHED: &str = "stamp.new";

/// Whose index: of which tenant's environment, and of which collection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) partition: [u8; 32],
    pub(super) incarnation: [u8; 16],
}

impl Key {
    /// As a file can be named.
    pub(super) fn name(&self) -> String {
        let hex = ids::text::hex;
        format!("{}-{}", hex(&self.partition), hex(&self.incarnation))
    }

    /// What [`Self::name`] named.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let (partition, incarnation) = name.split_once('-')?;
        Some(Self { partition: unhex(partition)?, incarnation: unhex(incarnation)? })
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", ids::text::hex(&self.incarnation))
    }
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok()?;
    }
    // One name a key.
    (ids::text::hex(&bytes) == text).then_some(bytes)
}

/// The directory of one collection's index.
#[derive(Clone, Debug)]
pub(super) struct Home {
    /// That of the tenant's environment.
    above: PathBuf,
    here: PathBuf,
}

impl Home {
    pub(super) fn of(root: &Path, key: &Key) -> Self {
        let above = above(root, &key.partition);
        Self { here: above.join(ids::text::hex(&key.incarnation)), above }
    }

    #[cfg(test)]
    pub(super) fn path(&self) -> &Path {
        &self.here
    }

    pub(super) fn generation(&self, number: u64) -> PathBuf {
        self.here.join(format!("g{number}"))
    }

    /// Makes the directory of a generation, empty.
    pub(super) fn make(&self, number: u64) -> io::Result<PathBuf> {
        for directory in [&self.above, &self.here] {
            private(directory)?;
        }
        let path = self.generation(number);
        remove(&path)?;
        private(&path)?;
        Ok(path)
    }

    /// The highest number of a generation that there is.
    pub(super) fn last(&self) -> io::Result<u64> {
        let mut last = 0;
        for name in names(&self.here)? {
            let number = name.strip_prefix('g').and_then(|number| number.parse().ok());
            last = last.max(number.unwrap_or(0));
        }
        Ok(last)
    }

    /// The stamp's bytes, if there is one. What is no file of a stamp's size is empty bytes.
    pub(super) fn stamp(&self) -> io::Result<Option<Vec<u8>>> {
        let path = self.here.join(STAMP);
        let about = match fs::symlink_metadata(&path) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let ours = [&self.above, &self.here]
            .into_iter()
            .all(|directory| fs::symlink_metadata(directory).is_ok_and(|about| about.is_dir()));
        if !ours || !about.is_file() || about.len() > stamp::BOUND {
            return Ok(Some(Vec::new()));
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(stamp::BOUND).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Puts a stamp in place of what there was: all of it, or nothing.
    pub(super) fn set_stamp(&self, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.here.join(UNFINISHED);
        replace(&unfinished, &self.here.join(STAMP), bytes)
    }

    /// Removes the stamp: what is there is to be made again.
    pub(super) fn unstamp(&self) -> io::Result<()> {
        missing_is_fine(fs::remove_file(self.here.join(STAMP)))
    }

    /// Removes everything but the stamp and these generations.
    pub(super) fn sweep(&self, keep: &[u64]) -> io::Result<()> {
        let keep: Vec<_> = keep.iter().map(|number| format!("g{number}")).collect();
        for name in names(&self.here)? {
            if name != STAMP && !keep.contains(&name) {
                remove(&self.here.join(name))?;
            }
        }
        Ok(())
    }

    /// Removes all of it.
    pub(super) fn remove(&self) -> io::Result<()> {
        // Whoever still makes files here does so in directories that go away: once more.
        for _ in 0..3 {
            if remove(&self.here).is_ok() {
                break;
            }
        }
        remove(&self.here)?;
        // The tenant's directory goes with the last of its indexes.
        let _ = fs::remove_dir(&self.above);
        Ok(())
    }

    /// Bytes on the disk.
    pub(super) fn bytes(&self) -> u64 {
        allocated(&self.here).unwrap_or(0)
    }
}

/// The directory of all indexes of a tenant's environment.
pub(super) fn above(root: &Path, partition: &[u8; 32]) -> PathBuf {
    root.join(ids::text::hex(partition))
}

/// Removes all indexes from a directory, and the directory if that was all. What else is there
/// stays: an operator may have named a directory of other things.
///
/// # Errors
/// What the file system answers.
pub fn remove_indexes(root: &Path) -> io::Result<()> {
    for name in names(root)? {
        if name == forget::MARKS || unhex::<32>(&name).is_some() {
            remove(&root.join(name))?;
        }
    }
    let _ = fs::remove_dir(root);
    Ok(())
}

/// Makes a directory for nobody else to look into, if there is none.
pub(super) fn private(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path)?.is_dir() {
                return Ok(());
            }
            // Not ours, and in the way.
            fs::remove_file(path)?;
            builder.create(path)
        }
        done => done,
    }
}

/// Removes what is at a path, if anything. A link goes, not what it leads to.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => missing_is_fine(fs::remove_dir_all(path)),
        Ok(_) => missing_is_fine(fs::remove_file(path)),
        Err(error) => missing_is_fine(Err(error)),
    }
}

/// Puts a file in place of what there was: all of it, or nothing.
pub(super) fn replace(unfinished: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    remove(unfinished)?;
    let mut file = File::create_new(unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(unfinished, path)
}

pub(super) fn missing_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// What is in a directory; nothing if there is none. Names that are not ours to make are left
/// out.
pub(super) fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A digest over the names, lengths and contents of all files below. Fails for anything that is
/// neither file nor directory. Pages of zeros are left out: whether they are holes, which they
/// mostly are, or not.
pub(super) fn digest(directory: &Path) -> io::Result<[u8; 32]> {
    let mut files = Vec::new();
    walk(directory, "", &mut |name, about| {
        files.push((name.to_owned(), about.len()));
    })?;
    files.sort_unstable();
    let mut digest = blake3::Hasher::new_derive_key("bulkhead memory 2026 files of an index");
    for (name, len) in files {
        digest.update(&(name.len() as u64).to_be_bytes()).update(name.as_bytes());
        digest.update(&len.to_be_bytes());
        add(&mut digest, File::open(directory.join(&name))?)?;
    }
    Ok(*digest.finalize().as_bytes())
}

fn add(digest: &mut blake3::Hasher, mut file: File) -> io::Result<()> {
    let mut pages = vec![0; PAGES * PAGE];
    let mut at = 0;
    while let Some(data) = data_from(&mut file, at)? {
        at = data - data % PAGE as u64;
        file.seek(io::SeekFrom::Start(at))?;
        let mut read = 0;
        while read < pages.len() {
            match file.read(&mut pages[read..])? {
                0 => break,
                more => read += more,
            }
        }
        for (page, n) in pages[..read].chunks(PAGE).zip(0_u64..) {
            if *page != ZEROS[..page.len()] {
                digest.update(&(at + n * PAGE as u64).to_be_bytes()).update(page);
            }
        }
        if read < pages.len() {
            break;
        }
        at += read as u64;
    }
    Ok(())
}

/// Where the next bytes are that are no hole.
#[cfg(target_os = "linux")]
fn data_from(file: &mut File, at: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
        Ok(data) => Ok(Some(data)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        // A file system without holes.
        Err(rustix::io::Errno::INVAL) => Ok(Some(at)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "as where there are holes")]
fn data_from(_: &mut File, at: u64) -> io::Result<Option<u64>> {
    Ok(Some(at))
}

/// Fails for anything below that is neither file nor directory.
pub(super) fn plain(directory: &Path) -> io::Result<()> {
    walk(directory, "", &mut |_, _| {})
}

/// Bytes that the files below take on the disk: those of the engine have holes.
pub(super) fn allocated(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    walk(directory, "", &mut |_, about| {
        #[cfg(unix)]
        let size = std::os::unix::fs::MetadataExt::blocks(about) * 512;
        #[cfg(not(unix))]
        let size = about.len();
        bytes += size;
    })?;
    Ok(bytes)
}

/// Copies all files below.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    walk(from, "", &mut |name, _| files.push(name.to_owned()))?;
    for name in files {
        let target = to.join(&name);
        if let Some(directory) = target.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::copy(from.join(&name), target)?;
    }
    Ok(())
}

fn walk(root: &Path, below: &str, visit: &mut impl FnMut(&str, &fs::Metadata)) -> io::Result<()> {
    let here = root.join(below);
    if !fs::symlink_metadata(&here)?.is_dir() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    for entry in fs::read_dir(here)? {
        let entry = entry?;
        let about = fs::symlink_metadata(entry.path())?;
        let name = entry.file_name().into_string().map_err(|_| io::ErrorKind::InvalidData)?;
        let name = if below.is_empty() { name } else { format!("{below}/{name}") };
        if about.is_dir() {
            walk(root, &name, visit)?;
        } else if about.is_file() {
            visit(&name, &about);
        } else {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key { partition: [0xab; 32], incarnation: [0x01; 16] };

    #[test]
    fn a_key_has_one_name() {
        assert_eq!(Key::of_name(&KEY.name()), Some(KEY));
        assert_eq!(Key::of_name(&KEY.name().to_uppercase()), None);
        for bad in ["", "-", "..-..", "../../etc-passwd", &KEY.name()[1..]] {
            assert_eq!(Key::of_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_digest_is_of_names_lengths_and_contents() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("d")).unwrap();
        fs::write(at("a"), b"one").unwrap();
        fs::write(at("d/b"), b"two").unwrap();
        let before = digest(directory.path()).unwrap();
        assert_eq!(digest(directory.path()).unwrap(), before);
        fs::write(at("d/b"), b"twO").unwrap();
        assert_ne!(digest(directory.path()).unwrap(), before);
        fs::write(at("d/b"), b"two").unwrap();
        assert_eq!(digest(directory.path()).unwrap(), before);
        fs::rename(at("a"), at("c")).unwrap();
        assert_ne!(digest(directory.path()).unwrap(), before);
    }

    #[test]
    fn a_hole_is_zeros_and_what_stands_behind_it_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let written = |bytes: &[(u64, &[u8])], len: u64| {
            let mut file = File::create(&path).unwrap();
            for (at, bytes) in bytes {
                file.seek(io::SeekFrom::Start(*at)).unwrap();
                file.write_all(bytes).unwrap();
            }
            file.set_len(len).unwrap();
            drop(file);
            digest(directory.path()).unwrap()
        };
        let zeros = vec![0; 3 << 20];
        let sparse = written(&[(2_500_000, b"here")], 3 << 20);
        assert_eq!(written(&[(0, &zeros), (2_500_000, b"here")], 3 << 20), sparse);
        let others = [
            written(&[(2_500_001, b"here")], 3 << 20),
            written(&[(2_500_000 - 4_096, b"here")], 3 << 20),
            written(&[(2_500_000, b"herE")], 3 << 20),
            written(&[(2_500_000, b"here"), ((3 << 20) - 1, b"x")], 3 << 20),
            written(&[(2_500_000, b"here")], (3 << 20) + 1),
            written(&[], 3 << 20),
            written(&[], 0),
        ];
        for (n, other) in others.iter().enumerate() {
            assert_ne!(*other, sparse, "{n}");
            assert_eq!(others.iter().filter(|o| *o == other).count(), 1, "{n}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_refused_and_never_followed() {
        use std::os::unix::fs::{MetadataExt, symlink};
        let root = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("kept"), b"somebody else's").unwrap();
        let home = Home::of(root.path(), &KEY);
        let generation = home.make(1).unwrap();
        assert_eq!(fs::metadata(home.path()).unwrap().mode() & 0o777, 0o700);

        symlink(elsewhere.path(), generation.join("link")).unwrap();
        assert!(digest(&generation).is_err() && plain(&generation).is_err());
        home.make(1).unwrap();
        assert!(plain(&generation).is_ok());

        home.set_stamp(b"stamp").unwrap();
        assert_eq!(home.stamp().unwrap().unwrap(), b"stamp");
        home.unstamp().unwrap();
        symlink(elsewhere.path().join("kept"), home.path().join("stamp")).unwrap();
        assert_eq!(home.stamp().unwrap().unwrap(), b"", "a link is no stamp");

        home.remove().unwrap();
        symlink(elsewhere.path(), root.path().join(ids::text::hex(&KEY.partition))).unwrap();
        home.make(1).unwrap();
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1, "nothing went there");
        home.remove().unwrap();
        assert_eq!(fs::read(elsewhere.path().join("kept")).unwrap(), b"somebody else's");
    }

    #[test]
    fn indexes_go_and_what_else_is_there_stays() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for name in [&*ids::text::hex(&KEY.partition), forget::MARKS, "keys", &"AB".repeat(32)] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("file"), b"x").unwrap();
        }
        remove_indexes(root.path()).unwrap();
        assert_eq!(names(root.path()).unwrap(), ["AB".repeat(32), "keys".to_owned()]);
        fs::remove_dir_all(at("keys")).unwrap();
        fs::remove_dir_all(at(&"AB".repeat(32))).unwrap();
        remove_indexes(root.path()).unwrap();
        assert!(!root.path().exists());
        remove_indexes(root.path()).unwrap();
    }

    #[test]
    fn a_stamp_over_its_bound_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::of(root.path(), &KEY);
        assert_eq!(home.stamp().unwrap(), None);
        home.make(1).unwrap();
        home.set_stamp(&vec![7; 4_097]).unwrap();
        assert_eq!(home.stamp().unwrap().unwrap(), b"");
    }
}
