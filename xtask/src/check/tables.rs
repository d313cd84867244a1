//! A table of the store has an id that no other has: the id is part of every row's key.

use std::collections::BTreeMap;

use super::Tree;
use crate::source::{File, Token};

pub(super) fn findings(tree: &Tree<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let (mut ids, mut names) = (BTreeMap::new(), BTreeMap::new());
    for file in &tree.files {
        for table in tables(file) {
            let place = format!("{}:{}", file.path, table.line);
            if let Some(other) = ids.insert(table.id, place.clone()) {
                found.push(format!("{place}: table id {} is taken by {other}", table.id));
            }
            if let Some(other) = names.insert(table.name, place.clone()) {
                found.push(format!("{place}: table {} is also at {other}", table.name));
            }
        }
    }
    found
}

struct Table<'a> {
    id: &'a str,
    name: &'a str,
    line: usize,
}

/// `Table { file: …, id: 7, name: "…" }`, in any order of fields.
fn tables(file: &File) -> Vec<Table<'_>> {
    let tokens = &file.tokens;
    tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.is_word("Table"))
        .filter(|(at, _)| tokens.get(at + 1).is_some_and(|next| next.is_mark('{')))
        .filter_map(|(at, token)| {
            let body: Vec<_> =
                tokens[at + 2..].iter().take_while(|token| !token.is_mark('}')).collect();
            Some(Table {
                id: field(&body, "id")?.word()?,
                name: field(&body, "name")?.text()?,
                line: token.line,
            })
        })
        .collect()
}

fn field<'a>(body: &[&'a Token], name: &str) -> Option<&'a Token> {
    let at = body.windows(2).position(|pair| pair[0].is_word(name) && pair[1].is_mark(':'))?;
    body.get(at + 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_found_and_a_type_is_not() {
        let text = r#"
            pub struct Table { pub file: File, pub id: u16, pub name: &'static str }
            const TENANTS: Table = Table { file: File::Core, id: 1, name: "tenants" };
            const KEYS: store::Table = store::Table { id: 2, name: "keys", file: File::Core };
        "#;
        let file = File::read(String::new(), text);
        let found: Vec<_> = tables(&file).iter().map(|t| (t.id, t.name)).collect();
        assert_eq!(found, [("1", "tenants"), ("2", "keys")]);
    }
}
