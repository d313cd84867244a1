//! Secrets that the command line handles: read from a file, standard input or an environment
//! variable, never from an argument, and wiped when they go.

use std::{
    fmt,
    io::{IsTerminal as _, Read as _},
    path::Path,
    str::FromStr,
};

use anyhow::{Context as _, Result};
use zeroize::Zeroizing;

use crate::fault::Fault;

/// The longest secret that is read, in bytes.
const MOST: u64 = 64 * 1024;

/// A secret in memory.
pub(crate) struct Text(Zeroizing<String>);

impl Text {
    /// Of text that is already in memory.
    pub(crate) fn new(text: String) -> Self {
        let text = Zeroizing::new(text);
        Self(Zeroizing::new(text.trim().to_owned()))
    }

    /// The secret itself.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Of an environment variable, if it is set.
    pub(crate) fn from_env(name: &str) -> Option<Self> {
        std::env::var(name).ok().filter(|text| !text.trim().is_empty()).map(Self::new)
    }

    /// Of a file.
    pub(crate) fn from_file(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path)
            .map_err(|error| Fault::failed(format!("cannot read {}: {error}", path.display())))?;
        Self::read(file, &path.display().to_string())
    }

    fn read(from: impl std::io::Read, name: &str) -> Result<Self> {
        let mut text = Zeroizing::new(String::with_capacity(4096));
        from.take(MOST).read_to_string(&mut text).with_context(|| format!("reading {name}"))?;
        let text = Self(Zeroizing::new(text.trim().to_owned()));
        if text.0.is_empty() {
            return Err(Fault::failed(format!("{name} is empty")).into());
        }
        Ok(text)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text(…)")
    }
}

/// Where a secret is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `-`
    Stdin,
    /// `env:NAME`
    Env(String),
    /// A path.
    File(std::path::PathBuf),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            _ if text == "-" => Ok(Self::Stdin),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ if looks_like_a_secret(text) => {
                Err("this looks like the secret itself, which every process on this machine can now see: replace it, then give it on standard input, in a file, or as env:NAME".into())
            }
            _ if text.is_empty() => Err("a path, env:NAME, or - for standard input".into()),
            _ => Ok(Self::File(text.into())),
        }
    }
}

fn looks_like_a_secret(text: &str) -> bool {
    ["sk-", "bk_", "bs_", "bo_", "bg_", "eyJ"].iter().any(|prefix| text.starts_with(prefix))
        && !Path::new(text).exists()
}

impl Source {
    /// Reads the secret. `hint` says what to do where standard input is a terminal, on which it
    /// would be shown.
    pub(crate) fn read(&self, hint: &str) -> Result<Text> {
        match self {
            Self::Stdin if std::io::stdin().is_terminal() => {
                Err(Fault::usage("the secret would be shown on the terminal").advise(hint).into())
            }
            Self::Stdin => Text::read(std::io::stdin().lock(), "standard input"),
            Self::File(path) => Text::from_file(path),
            Self::Env(name) => Text::from_env(name).ok_or_else(|| {
                Fault::failed(format!("the environment variable {name} is not set, or empty"))
                    .into()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart_and_a_secret_is_refused_without_being_repeated() {
        for (text, source) in [
            ("-", Source::Stdin),
            ("env:KEY", Source::Env("KEY".into())),
            ("file:a", Source::File("a".into())),
            ("./key.txt", Source::File("./key.txt".into())),
        ] {
            assert_eq!(text.parse::<Source>().unwrap(), source);
        }
        let error = "sk-1234567890".parse::<Source>().unwrap_err();
        assert!(!error.contains("1234567890"), "{error}");
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Text::new("abc".into())), "Text(…)");
    }
}
