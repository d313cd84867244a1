//! Just enough of Rust's lexical grammar to ask questions of source files: literals, words, marks and the line
//! each stands on, without comments, and with or without what is compiled for tests only.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// A token that is not a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier, keyword or number.
    Word(String),
    /// A string literal as written between its quotes.
    Text(String),
    /// A single punctuation character.
    Mark(char),
}

/// A token and its line, counted from 1.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(own) if own == word)
    }

    pub(crate) fn is_mark(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            Kind::Word(_) | Kind::Mark(_) => None,
        }
    }

    pub(crate) fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            Kind::Text(_) | Kind::Mark(_) => None,
        }
    }
}

/// A source file as tokens.
pub(crate) struct File {
    /// Relative to the top folder, with `/`.
    pub(crate) path: String,
    /// All lines, tests and comments included.
    pub(crate) lines: usize,
    /// The lines of `#[cfg(test)]` items.
    pub(crate) test_lines: usize,
    /// Tokens outside `#[cfg(test)]` items.
    pub(crate) tokens: Vec<Token>,
}

impl File {
    /// Reads a source text.
    pub(crate) fn read(path: String, text: &str) -> Self {
        let (tokens, test_lines) = without_tests(&tokens(text));
        Self { path, lines: text.lines().count(), test_lines, tokens }
    }

    /// Functions outside tests: name, line and length in lines.
    pub(crate) fn functions(&self) -> Vec<(String, usize, usize)> {
        let mut found = Vec::new();
        for (at, pair) in self.tokens.windows(2).enumerate() {
            let ([keyword, name], true) = (pair, pair[0].is_word("fn")) else {
                continue;
            };
            let (Some(name), Some(end)) = (name.word(), item_end(&self.tokens, at)) else {
                continue;
            };
            let length = self.tokens[end].line + 1 - keyword.line;
            found.push((name.to_owned(), keyword.line, length));
        }
        found
    }
}

/// Every `.rs` file under `folder`, except under a folder named `tests`, or `target` unless that is a module, in order
/// of path.
pub(crate) fn files(root: &Path, folder: &str) -> Result<Vec<File>> {
    let mut paths = Vec::new();
    collect(&root.join(folder), &mut paths)?;
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let shown = path.strip_prefix(root).unwrap_or(path).to_string_lossy();
            Ok(File::read(shown.replace('\\', "/"), &text))
        })
        .collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let is_module = path.parent().is_some_and(|folder| folder.ends_with("src"));
            if name != "tests" && (name != "target" || is_module) {
                collect(&path, into)?;
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            into.push(path);
        }
    }
    Ok(())
}

/// The index of the token that ends the item beginning at `start`: its closing brace, or `;` where it has none.
fn item_end(tokens: &[Token], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.kind {
            Kind::Mark('(' | '[' | '{') => depth += 1,
            Kind::Mark(')' | ']') => depth = depth.checked_sub(1)?,
            Kind::Mark('}') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            Kind::Mark(';') if depth == 0 => return Some(at),
            Kind::Mark(_) | Kind::Word(_) | Kind::Text(_) => {}
        }
    }
    None
}

/// Drops each item that stands under `#[cfg(test)]` or `#[cfg(all(test, …))]`; with the number of their lines.
fn without_tests(tokens: &[Token]) -> (Vec<Token>, usize) {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut lines = 0;
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..])
            && let Some(end) = attribute_end(tokens, at).and_then(|end| item_end(tokens, end + 1))
        {
            lines += tokens[end].line + 1 - tokens[at].line;
            at = end + 1;
            continue;
        }
        kept.push(tokens[at].clone());
        at += 1;
    }
    (kept, lines)
}

fn is_test_attribute(tokens: &[Token]) -> bool {
    let opens = tokens.len() > 5
        && tokens[0].is_mark('#')
        && tokens[1].is_mark('[')
        && tokens[2].is_word("cfg")
        && tokens[3].is_mark('(');
    opens
        && (tokens[4].is_word("test")
            || (tokens[4].is_word("all")
                && tokens.get(6).is_some_and(|token| token.is_word("test"))))
}

fn attribute_end(tokens: &[Token], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        if token.is_mark('[') {
            depth += 1;
        } else if token.is_mark(']') {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

/// Splits a source text; see [`Kind`].
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut reader = Reader { rest: text, line: 1 };
    let mut found = Vec::new();
    while let Some(token) = reader.next() {
        found.push(token);
    }
    found
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn next(&mut self) -> Option<Token> {
        loop {
            let first = self.rest.chars().next()?;
            if first.is_whitespace() {
                self.take(first.len_utf8());
            } else if self.rest.starts_with("//") {
                self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                self.block_comment();
            } else {
                let line = self.line;
                let kind = self.token(first);
                if let Some(kind) = kind {
                    return Some(Token { kind, line });
                }
            }
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while !self.rest.is_empty() {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.take(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.take(2);
                if depth == 0 {
                    return;
                }
            } else {
                let first = self.rest.chars().next().map_or(1, char::len_utf8);
                self.take(first);
            }
        }
    }

    /// `None` for a character literal or a lifetime: nobody asks for those.
    fn token(&mut self, first: char) -> Option<Kind> {
        if let Some(text) = self.string() {
            return Some(Kind::Text(text));
        }
        if first == '\'' {
            self.quote();
            return None;
        }
        if first.is_alphanumeric() || first == '_' {
            let end = self
                .rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(self.rest.len());
            return Some(Kind::Word(self.take(end).to_owned()));
        }
        self.take(first.len_utf8());
        Some(Kind::Mark(first))
    }

    fn quote(&mut self) {
        let mut chars = self.rest.chars().skip(1);
        let (second, third) = (chars.next(), chars.next());
        if second == Some('\\') {
            // `'\''`, `'\\'`, `'\u{1F600}'`: the character after the backslash is never the end.
            let after = 2 + third.map_or(0, char::len_utf8);
            let end = self.rest.get(after..).and_then(|rest| rest.find('\''));
            self.take(after + end.unwrap_or(0) + 1);
        } else if third == Some('\'') {
            self.take(2 + second.map_or(0, char::len_utf8));
        } else {
            self.take(1);
        }
    }

    /// A string literal with its prefix, if one begins here.
    fn string(&mut self) -> Option<String> {
        let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
            self.rest.strip_prefix(prefix).is_some_and(|rest| {
                let raw = prefix.ends_with('r');
                let rest = if raw { rest.trim_start_matches('#') } else { rest };
                rest.starts_with('"')
            })
        })?;
        self.take(prefix.len());
        if prefix.ends_with('r') {
            let hashes = self.rest.len() - self.rest.trim_start_matches('#').len();
            self.take(hashes + 1);
            let close = format!("\"{}", "#".repeat(hashes));
            let end = self.rest.find(&close).unwrap_or(self.rest.len());
            let text = self.take(end).to_owned();
            self.take(close.len());
            return Some(text);
        }
        self.take(1);
        let mut escaped = false;
        let end = self
            .rest
            .find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            })
            .unwrap_or(self.rest.len());
        let text = self.take(end).to_owned();
        self.take(1);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        let (kept, _) = without_tests(&tokens(text));
        kept.iter()
            .map(|token| match &token.kind {
                Kind::Word(word) => word.clone(),
                Kind::Text(text) => format!("<{text}>"),
                Kind::Mark(mark) => mark.to_string(),
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn comments_literals_and_test_items_are_told_apart() {
        for (text, expected) in [
            ("a // b\nc /* d /* e */ f */ g", "a c g"),
            (r#"f("x\"y", 'a', '\'', &'s b"z")"#, r#"f ( <x\"y> , , , & s <z> )"#),
            ("r#\"a \"b\" c\"# r\"d\"", "<a \"b\" c> <d>"),
            (
                "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\nfn c() {}",
                "fn a ( ) { } fn c ( ) { }",
            ),
            ("#[cfg(test)] mod tests;\nx", "x"),
            ("#[cfg(all(test, unix))] #[path = \"p\"] mod t { [{}] }\nx", "x"),
            ("#[cfg(unix)] mod t {}", "# [ cfg ( unix ) ] mod t { }"),
            ("let raw = r; let b = br;", "let raw = r ; let b = br ;"),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn functions_and_test_items_are_as_long_as_their_lines() {
        let text = "trait T { fn open(&self) -> [u8; 4]; }\nfn long(\n a: u8,\n) {\n\n}\n#[cfg(test)]\nmod t {\n}\n";
        let file = File::read(String::new(), text);
        assert_eq!(file.functions(), [("open".to_owned(), 1, 1), ("long".to_owned(), 2, 5)]);
        assert_eq!((file.lines, file.test_lines), (9, 3));
    }
}
