//! Sizes: a file that passes 600 lines or a function that passes 60 is asking to be two, and what can mint a scope
//! stays small enough to be read in one sitting (docs/decisions/0003-size-of-the-kernel.md).

use anyhow::Result;

use super::Tree;
use crate::source::File;

/// Lines of a source file, its unit tests included.
const FILE_LINES: usize = 600;
/// Lines of a function, its signature included.
const FUNCTION_LINES: usize = 60;
/// The files of crates/scope that can construct a scope or decide over one.
const KERNEL: &[&str] = &["identity", "standing", "token", "doors", "mandate", "operator"];
/// Lines of those files together, with comments, without unit tests.
const KERNEL_LINES: usize = 1_500;
/// Lines of the crate with all that stands beside them, counted alike.
const SCOPE_LINES: usize = 3_200;
/// Files that are longer than [`FILE_LINES`], with the length they may not pass. This list may only shrink.
const LONG_FILES: &[(&str, usize)] = &[];

pub(super) fn findings(tree: &Tree<'_>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut asking = 0;
    for file in &tree.files {
        let allowed =
            LONG_FILES.iter().find(|(path, _)| *path == file.path).map(|(_, lines)| *lines);
        match allowed {
            Some(most) if file.lines > most => found.push(format!(
                "{} has grown to {} lines; the list allows {most}",
                file.path, file.lines
            )),
            Some(_) if file.lines <= FILE_LINES => {
                found.push(format!("{} is short enough now: take it off the list", file.path))
            }
            Some(_) => println!("  sizes: {} still has {} lines", file.path, file.lines),
            None if file.lines > FILE_LINES => found.push(format!(
                "{} has {} lines (bound {FILE_LINES}): is it two things?",
                file.path, file.lines
            )),
            None => {}
        }
        for (name, line, length) in file.functions() {
            if length > FUNCTION_LINES {
                asking += 1;
                println!("  sizes: {}:{line} {name} has {length} lines", file.path);
            }
        }
    }
    if asking > 0 {
        println!("  sizes: {asking} functions pass {FUNCTION_LINES} lines (a hint, not a failure)");
    }
    for (path, _) in LONG_FILES {
        if !tree.files.iter().any(|file| file.path == *path) {
            found.push(format!("{path} is gone: take it off the list"));
        }
    }
    found.extend(kernel(tree));
    Ok(found)
}

fn kernel(tree: &Tree<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let paths: Vec<_> = KERNEL.iter().map(|name| format!("crates/scope/src/{name}.rs")).collect();
    let in_kernel = |file: &File| paths.contains(&file.path);
    let (mut inside, mut whole) = (0, 0);
    let own = |file: &&File| file.path.starts_with("crates/scope/");
    let scope: Vec<_> = tree.files.iter().filter(own).collect();
    for file in &scope {
        let lines = file.lines - file.test_lines;
        whole += lines;
        inside += if in_kernel(file) { lines } else { 0 };
    }
    println!(
        "  sizes: what can mint a scope has {inside} lines (bound {KERNEL_LINES}), its crate {whole} ({SCOPE_LINES})"
    );
    if inside >= KERNEL_LINES || whole >= SCOPE_LINES {
        found.push("what can mint a scope, or its crate, has grown beyond its bound".to_owned());
    }
    for path in &paths {
        if !tree.files.iter().any(|file| file.path == *path) {
            found.push(format!(
                "{path} is gone: say in xtask/src/check/sizes.rs what took its place"
            ));
        }
    }
    for file in scope.iter().filter(|file| !in_kernel(file)) {
        for (at, token) in file.tokens.iter().enumerate() {
            let constructs = token.is_word("from_inner")
                || (token.is_word("Inner")
                    && file.tokens.get(at + 3).is_some_and(|t| t.is_word("new")));
            if constructs {
                found.push(format!(
                    "{}:{} constructs a scope outside of the kernel",
                    file.path, token.line
                ));
            }
        }
    }
    found
}
