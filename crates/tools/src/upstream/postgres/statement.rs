//! A contract's query, put so that each row comes as one JSON object of bounded length.

use super::session::Bounds;

/// The query without white space and one semicolon at its end.
fn bare(sql: &str) -> &str {
    let sql = sql.trim();
    sql.strip_suffix(';').unwrap_or(sql).trim_end()
}

/// Of a query that reads. Rows beyond the bound are not asked for, but for one, which shows
/// that there are more.
pub(super) fn reading(sql: &str, bounds: &Bounds) -> String {
    let (sql, rows) = (bare(sql), bounds.rows.saturating_add(1));
    let shown = shown(bounds);
    format!(
        "select {shown} from (select row_to_json(bulkhead_row)::text as bulkhead_text \
         from (\n{sql}\n) as bulkhead_row limit {rows}) as bulkhead_rows"
    )
}

/// Of one that writes and gives rows: all of it is done, however many they are.
pub(super) fn writing(sql: &str, bounds: &Bounds) -> String {
    let (sql, shown) = (bare(sql), shown(bounds));
    format!(
        "with bulkhead_row as (\n{sql}\n) select {shown} from \
         (select row_to_json(bulkhead_row)::text as bulkhead_text from bulkhead_row) \
         as bulkhead_rows"
    )
}

/// Null for a row that is too long: one of a gigabyte is then never sent.
fn shown(bounds: &Bounds) -> String {
    let bytes = bounds.bytes;
    format!("case when octet_length(bulkhead_text) <= {bytes} then bulkhead_text end")
}

/// Whether a statement that gives no rows is one that writes. Anything else would change the
/// transaction or the session, which are not its to change.
pub(super) fn is_plain_write(sql: &str) -> bool {
    let word: String = bare(sql).chars().take_while(char::is_ascii_alphabetic).collect();
    ["insert", "update", "delete", "merge", "with", "call"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_writes_may_give_no_rows() {
        for (sql, plain) in [
            ("insert into t values ($1)", true),
            ("  UPDATE t set a = 1;", true),
            ("with x as (delete from t) insert into u select 1", true),
            ("call pay($1)", true),
            ("commit", false),
            ("set app.tenant = 'globex'", false),
            ("reset role", false),
            ("truncate t", false),
            ("-- insert\ncommit", false),
            ("", false),
        ] {
            assert_eq!(is_plain_write(sql), plain, "{sql}");
        }
    }

    #[test]
    fn a_comment_at_the_end_ends_with_its_line() {
        let bounds = Bounds { timeout_ms: 1, bytes: 10, rows: 5 };
        for sql in [reading("select 1 -- one ; ", &bounds), writing("select 1 -- one", &bounds)] {
            assert!(sql.contains("select 1 -- one"), "{sql}");
            assert!(sql.contains("\n)"), "{sql}");
        }
        assert!(reading("select 1", &bounds).contains("limit 6)"));
        assert!(!writing("select 1", &bounds).contains("limit"));
    }
}
