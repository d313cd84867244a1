//! Backups: a directory with a copy of each file and a manifest that vouches for them.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
};

use ids::Millis;
use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};
use serde::{Deserialize, Serialize};

use crate::{
    Error, File,
    engine::Progress,
    sqlite::{RESTORING, create, make_dir, newest, sync_dir},
};

const MANIFEST: &str = "manifest.json";
/// Of the manifest itself.
const FORMAT: u32 = 1;
/// Pages copied between two words on progress.
const PAGES: i32 = 256;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format.
    pub format: u32,
    /// The schema version of the files.
    pub schema: u32,
    /// When it was taken, in milliseconds since the Unix epoch.
    pub taken: Millis,
    /// The files.
    pub files: Vec<ManifestFile>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Its name without `.db`.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The BLAKE3 hash of its bytes, in hexadecimal.
    pub blake3: String,
}

/// A file to copy: a connection with an open read transaction.
pub(crate) struct Source {
    pub(crate) file: File,
    pub(crate) conn: Connection,
}

/// Copies the sources into `dest` and writes the manifest last, so that a backup without one
/// is none.
pub(crate) fn write(
    sources: Vec<Source>,
    dest: &Path,
    taken: Millis,
    mut progress: Progress,
) -> Result<Manifest, Error> {
    make_dir(dest)?;
    if !is_empty(dest)? {
        return Err(Error::NotEmpty { dir: dest.to_owned() });
    }
    let mut pages = Pages { done: 0, total: 0 };
    for source in &sources {
        let count: i64 = source
            .conn
            .query_row("PRAGMA page_count", [], |row| row.get(0))
            .map_err(|e| Error::sqlite(source.file, &e))?;
        pages.total += u64::try_from(count).unwrap_or(0);
    }
    let mut files = Vec::new();
    for source in sources {
        let to = dest.join(format!("{}.db", source.file));
        create(&to).map_err(|e| Error::io("make a file", &e))?;
        copy(&source, &to, &mut pages, &mut progress)
            .map_err(|e| Error::sqlite(source.file, &e))?;
        let (bytes, blake3) = hash(&to)?;
        files.push(ManifestFile { name: source.file.name().to_owned(), bytes, blake3 });
    }
    let manifest = Manifest { format: FORMAT, schema: newest(), taken, files };
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|e| Error::Io { doing: "write a manifest", cause: e.to_string().into() })?;
    store(&dest.join(MANIFEST), &text)?;
    sync_dir(Some(dest))?;
    Ok(manifest)
}

struct Pages {
    done: u64,
    total: u64,
}

fn copy(
    source: &Source,
    to: &Path,
    pages: &mut Pages,
    progress: &mut Progress,
) -> rusqlite::Result<()> {
    let mut copy = Connection::open(to)?;
    {
        let backup = Backup::new(&source.conn, &mut copy)?;
        loop {
            let step = backup.step(PAGES)?;
            let at = backup.progress();
            let copied = u64::try_from(at.pagecount - at.remaining).unwrap_or(0);
            progress((pages.done + copied).min(pages.total), pages.total);
            match step {
                StepResult::Done => {
                    pages.done += copied;
                    break;
                }
                // Nobody else knows the copy, and readers of a log are never locked out.
                StepResult::More | StepResult::Busy | StepResult::Locked => {}
                // The enum may grow.
                _ => {}
            }
        }
    }
    // One file, without a log beside it.
    copy.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    copy.close().map_err(|(_, e)| e)
}

/// The size and hash of a file, which is made durable.
fn hash(path: &Path) -> Result<(u64, String), Error> {
    let fail = |e: std::io::Error| Error::io("read a file", &e);
    let file = fs::File::open(path).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&file).map_err(fail)?;
    Ok((hasher.count(), hasher.finalize().to_hex().to_string()))
}

fn store(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let fail = |e: std::io::Error| Error::io("write a file", &e);
    let mut file = create(path).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.sync_all().map_err(fail)
}

fn is_empty(dir: &Path) -> Result<bool, Error> {
    let mut entries = fs::read_dir(dir).map_err(|e| Error::io("read a directory", &e))?;
    Ok(entries.next().is_none())
}

/// Copies a backup into a data directory that holds no data.
pub(crate) fn restore(src: &Path, dest: &Path) -> Result<Manifest, Error> {
    let (manifest, files) = read(src)?;
    make_dir(dest)?;
    if !is_empty(dest)? {
        return Err(Error::NotEmpty { dir: dest.to_owned() });
    }
    // Until this is gone, the directory does not open.
    let marker = dest.join(RESTORING);
    store(&marker, b"")?;
    sync_dir(Some(dest))?;
    let copied = files.iter().try_for_each(|(file, expected)| {
        let name = format!("{file}.db");
        copy_checked(&src.join(&name), &dest.join(&name), expected)
    });
    if let Err(error) = copied {
        // As it was: what was copied so far is ours to remove.
        for (file, _) in &files {
            let _ = fs::remove_file(dest.join(format!("{file}.db")));
        }
        let _ = fs::remove_file(&marker);
        return Err(error);
    }
    sync_dir(Some(dest))?;
    fs::remove_file(&marker).map_err(|e| Error::io("remove a file", &e))?;
    sync_dir(Some(dest))?;
    Ok(manifest)
}

/// The manifest, and the files that it names, each of which is one of ours.
fn read(src: &Path) -> Result<(Manifest, Vec<(File, ManifestFile)>), Error> {
    let bad = |why: &str| Error::BadBackup(why.to_owned());
    let text = fs::read(src.join(MANIFEST)).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => bad("it has no manifest.json: it was not finished"),
        _ => Error::io("read a file", &e),
    })?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|e| Error::BadBackup(format!("manifest.json: {e}")))?;
    if manifest.format != FORMAT {
        return Err(bad("manifest.json is of another format"));
    }
    if manifest.schema > newest() {
        return Err(Error::Newer { file: File::Core, found: manifest.schema, known: newest() });
    }
    let mut files: Vec<(File, ManifestFile)> = Vec::new();
    for entry in &manifest.files {
        let file = File::from_name(&entry.name).ok_or_else(|| bad("it names an unknown file"))?;
        if files.iter().any(|(other, _)| *other == file) {
            return Err(bad("it names a file twice"));
        }
        files.push((file, entry.clone()));
    }
    if !files.iter().any(|(file, _)| *file == File::Core) {
        return Err(bad("it has no core file"));
    }
    Ok((manifest, files))
}

/// Copies a file, checking that it is what the manifest says.
fn copy_checked(from: &Path, to: &Path, expected: &ManifestFile) -> Result<(), Error> {
    let mut source = fs::File::open(from).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::BadBackup(format!("{} is missing", expected.name)),
        _ => Error::io("read a file", &e),
    })?;
    let fail = |e: std::io::Error| Error::io("write a file", &e);
    let mut target = create(to).map_err(fail)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = source.read(&mut buffer).map_err(|e| Error::io("read a file", &e))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        target.write_all(&buffer[..read]).map_err(fail)?;
    }
    target.sync_all().map_err(fail)?;
    if hasher.count() != expected.bytes || hasher.finalize().to_hex().as_str() != expected.blake3 {
        return Err(Error::BadBackup(format!("{} is not what was backed up", expected.name)));
    }
    Ok(())
}
