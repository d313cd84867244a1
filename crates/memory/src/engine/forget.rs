//! What is to be forgotten, and until when: a mark for each index that has something in its
//! files which is deleted. Marks are files, so that a restart does not lose them; nothing of a
//! tenant is needed to act on one.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use ids::Millis;
use parking_lot::Mutex;

use super::home::{self, Key};

/// Next to the tenants' directories, whose names are hex.
pub(super) const MARKS: &str = ".forget";

pub(super) struct Forget {
    directory: PathBuf,
    /// What is known of it. Held for moments only: whoever writes asks here.
    due: Mutex<HashMap<Key, Millis>>,
    /// Held by whoever works on the files, which takes as long as a disk does. Whether those of
    /// an earlier process were read.
    files: Mutex<bool>,
}

impl Forget {
    pub(super) fn new(root: &Path) -> Self {
        Self { directory: root.join(MARKS), due: Mutex::default(), files: Mutex::default() }
    }

    /// Whether there is a mark that is due no later.
    pub(super) fn has(&self, key: &Key, due: Millis) -> bool {
        self.known(key).is_some_and(|at| at <= due)
    }

    pub(super) fn any(&self, key: &Key) -> bool {
        self.known(key).is_some()
    }

    fn known(&self, key: &Key) -> Option<Millis> {
        self.due.lock().get(key).copied()
    }

    pub(super) fn waiting(&self) -> usize {
        self.due.lock().len()
    }

    /// Marks an index, unless it is to be forgotten earlier. Blocks.
    pub(super) fn mark(&self, key: &Key, due: Millis) -> io::Result<()> {
        let read = self.files.lock();
        let known = self.known(key);
        let earlier = known.or_else(|| (!*read).then(|| self.read_one(key)).flatten());
        let due = earlier.map_or(due, |at| at.min(due));
        if known == Some(due) {
            return Ok(());
        }
        home::private(&self.directory)?;
        let path = self.directory.join(key.name());
        home::replace(&path.with_extension("new"), &path, due.0.to_string().as_bytes())?;
        // What it stands for is written behind it, and must not outlive it.
        fs::File::open(&self.directory)?.sync_all()?;
        self.due.lock().insert(*key, due);
        Ok(())
    }

    /// Those that are due, the earliest first. Blocks the first time.
    pub(super) fn due(&self, now: Millis) -> io::Result<Vec<Key>> {
        let mut read = self.files.lock();
        if !*read {
            for name in home::names(&self.directory)? {
                if let Some(key) = Key::of_name(&name) {
                    // A mark that cannot be read is due.
                    let at = self.read_one(&key).unwrap_or_default();
                    self.due.lock().entry(key).or_insert(at);
                }
            }
            *read = true;
        }
        let mut due: Vec<_> = {
            let marks = self.due.lock();
            marks.iter().filter(|(_, at)| **at <= now).map(|(key, at)| (*at, *key)).collect()
        };
        due.sort_unstable();
        Ok(due.into_iter().map(|(_, key)| key).collect())
    }

    /// From now on a new mark is about something else than this one. Its file stays until
    /// [`Self::done`].
    pub(super) fn begin(&self, key: &Key) {
        self.due.lock().remove(key);
    }

    /// What was begun is done: the mark goes, unless there is a new one. Blocks.
    pub(super) fn done(&self, key: &Key) -> io::Result<()> {
        let _files = self.files.lock();
        if self.any(key) {
            return Ok(());
        }
        home::remove(&self.directory.join(key.name()))
    }

    /// All marks of a tenant's environment. Blocks.
    pub(super) fn of(&self, partition: &[u8; 32]) -> io::Result<Vec<Key>> {
        self.due(Millis(u64::MAX))
            .map(|all| all.into_iter().filter(|key| key.partition == *partition).collect())
    }

    fn read_one(&self, key: &Key) -> Option<Millis> {
        let text = fs::read_to_string(self.directory.join(key.name())).ok()?;
        Some(Millis(text.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = Key { partition: [1; 32], incarnation: [2; 16] };
    const B: Key = Key { partition: [3; 32], incarnation: [4; 16] };

    #[test]
    fn marks_survive_and_the_earlier_time_stands() {
        let root = tempfile::tempdir().unwrap();
        let marks = Forget::new(root.path());
        marks.mark(&A, Millis(20)).unwrap();
        marks.mark(&A, Millis(30)).unwrap();
        marks.mark(&B, Millis(10)).unwrap();
        assert_eq!(marks.due(Millis(15)).unwrap(), [B]);

        let again = Forget::new(root.path());
        again.mark(&A, Millis(25)).unwrap();
        assert_eq!(again.due(Millis(19)).unwrap(), [B]);
        assert_eq!(again.due(Millis(20)).unwrap(), [B, A]);
        assert_eq!(again.of(&A.partition).unwrap(), [A]);
    }

    #[test]
    fn who_asks_does_not_wait_for_the_disk() {
        let root = tempfile::tempdir().unwrap();
        let marks = Forget::new(root.path());
        marks.mark(&A, Millis(20)).unwrap();
        // As whoever works on the files has it.
        let _files = marks.files.lock();
        assert!(marks.has(&A, Millis(20)) && !marks.any(&B) && marks.waiting() == 1);
        marks.begin(&A);
        assert!(!marks.any(&A));
    }

    #[test]
    fn what_is_marked_meanwhile_stays() {
        let root = tempfile::tempdir().unwrap();
        let marks = Forget::new(root.path());
        for key in [A, B] {
            marks.mark(&key, Millis(10)).unwrap();
            marks.begin(&key);
        }
        marks.mark(&A, Millis(50)).unwrap();
        for key in [A, B] {
            marks.done(&key).unwrap();
        }
        assert_eq!(Forget::new(root.path()).due(Millis(60)).unwrap(), [A]);
    }

    #[test]
    fn what_is_no_mark_is_left_alone_and_a_broken_one_is_due() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(MARKS)).unwrap();
        fs::write(root.path().join(MARKS).join("../x"), b"0").unwrap();
        fs::write(root.path().join(MARKS).join("other"), b"0").unwrap();
        fs::write(root.path().join(MARKS).join(A.name()), b"soon").unwrap();
        assert_eq!(Forget::new(root.path()).due(Millis(0)).unwrap(), [A]);
    }
}
