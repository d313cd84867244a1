//! What `secure_delete` leaves behind.
//!
//! SQLite overwrites the cells that it frees. But when it rebalances a tree it also moves
//! cells between pages, and the room that a moved cell leaves in a page's unallocated middle
//! keeps its old bytes until the page fills up again (`rebuildPage` in `btree.c`). So after
//! an erasure, bytes of erased rows may still stand in pages that are another tenant's by
//! now. Here that unallocated middle is overwritten, page by page, a bounded number of pages
//! between two commits, so that nobody waits for it.
//!
//! Raw pages are reached by the virtual table `sqlite_dbpage`, which SQLite has if it was
//! compiled with `SQLITE_ENABLE_DBPAGE_VTAB` (`LIBSQLITE3_FLAGS` in `.cargo/config.toml`).
//! Without it the file is rewritten (`VACUUM`): the same end, but writes wait for it.

use rusqlite::{Connection, OptionalExtension};

/// Pages looked at in one go.
const PAGES: u32 = 512;

/// From here on the first byte of a page that is not of a tree could look like one of a
/// tree: it is the high byte of a page number (2 × 2^24 pages).
const MOST_PAGES: u32 = 0x0200_0000;

/// Where a scrubbing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scrub {
    /// The next page.
    At(u32),
    Done,
}

impl Scrub {
    /// Overwrites the unallocated middle of the next pages.
    pub(super) fn step(self, conn: &Connection) -> rusqlite::Result<Self> {
        let Self::At(first) = self else { return Ok(self) };
        let last: u32 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        if last >= MOST_PAGES || !supported(conn)? {
            // The copy that this makes may be larger than memory.
            conn.execute_batch("PRAGMA temp_store = FILE; VACUUM; PRAGMA temp_store = MEMORY;")?;
            return Ok(Self::Done);
        }
        let end = first.saturating_add(PAGES).min(last + 1);
        let txn = conn.unchecked_transaction()?;
        for number in first..end {
            scrub(&txn, number)?;
        }
        txn.commit()?;
        Ok(if end > last { Self::Done } else { Self::At(end) })
    }
}

/// Whether this SQLite was compiled to reach raw pages.
fn supported(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row(
        "SELECT count(*) FROM pragma_module_list WHERE name = 'sqlite_dbpage'",
        [],
        |row| row.get(0),
    )
}

fn scrub(conn: &Connection, number: u32) -> rusqlite::Result<()> {
    let page: Option<Vec<u8>> = conn
        .prepare_cached("SELECT data FROM sqlite_dbpage WHERE pgno = ?1")?
        .query_row([number], |row| row.get(0))
        .optional()?;
    let Some(mut page) = page else { return Ok(()) };
    if wipe_middle(&mut page, number == 1) {
        conn.prepare_cached("UPDATE sqlite_dbpage SET data = ?2 WHERE pgno = ?1")?
            .execute((number, page))?;
    }
    Ok(())
}

/// Overwrites what lies between the cell pointers and the cells of a tree's page. Whether
/// anything was there (<https://sqlite.org/fileformat2.html#b_tree_pages>).
fn wipe_middle(page: &mut [u8], first: bool) -> bool {
    let start = if first { 100 } else { 0 };
    let Some(&[kind, _, _, cells_1, cells_2, content_1, content_2]) =
        page.get(start..start + 7).and_then(|header| header.first_chunk::<7>())
    else {
        return false;
    };
    let header = match kind {
        2 | 5 => 12,
        10 | 13 => 8,
        _ => return false,
    };
    let cells = usize::from(u16::from_be_bytes([cells_1, cells_2]));
    let content = match u16::from_be_bytes([content_1, content_2]) {
        0 => 65_536,
        content => usize::from(content),
    };
    let Some(middle) = page.get_mut(start + header + 2 * cells..content) else { return false };
    let dirty = middle.iter().any(|byte| *byte != 0);
    middle.fill(0);
    dirty
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wipes_the_middle_and_nothing_else() {
        for (kind, header, first) in [(13, 8, false), (10, 8, true), (5, 12, false), (2, 12, true)]
        {
            let start = if first { 100 } else { 0 };
            let mut page = vec![7u8; 512];
            page[start] = kind;
            page[start + 3..start + 7].copy_from_slice(&[0, 3, 1, 144]); // 3 cells from byte 400
            let mut expected = page.clone();
            expected[start + header + 6..400].fill(0);
            assert!(wipe_middle(&mut page, first));
            assert_eq!(page, expected);
            assert!(!wipe_middle(&mut page, first), "already clean");
        }
    }

    #[test]
    fn leaves_other_pages_alone() {
        for (kind, content) in [(0, 400u16), (1, 400), (13, 600), (13, 4)] {
            let mut page = vec![7u8; 512];
            page[0] = kind;
            page[3..5].copy_from_slice(&[0, 3]);
            page[5..7].copy_from_slice(&content.to_be_bytes());
            let before = page.clone();
            assert!(!wipe_middle(&mut page, false));
            assert_eq!(page, before, "kind {kind}, content at {content}");
        }
    }
}
