//! Credentials: where they come from, and that they are never printed.

use std::{
    fmt,
    io::Read as _,
    path::Path,
    process::Stdio,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

/// The longest credential, in bytes.
const MOST: u64 = 64 * 1024;
/// How long a `token_cmd` may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A credential younger than this was not refused for its age.
const FRESH: Duration = Duration::from_secs(60);

/// A secret, never printed. One that a program made is made again when it has become old; all
/// clones have the newest.
#[derive(Clone)]
pub struct Credential(Arc<Link>);

/// What is handed out by reference stays where it is: newer ones are put behind it.
struct Link {
    text: Zeroizing<String>,
    shown: String,
    command: Option<Arc<[String]>>,
    born: Instant,
    next: OnceLock<Arc<Self>>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

impl Credential {
    pub(crate) fn new(text: String) -> Self {
        Self::shown_as(text, "$SECRET")
    }

    /// With what stands for it in proofs: `$A`, `$B`, or how it is made of these, `$A[..20]`.
    pub(crate) fn shown_as(text: String, shown: impl Into<String>) -> Self {
        Self(Arc::new(Link::new(text, shown.into(), None)))
    }

    /// Of a program that is run now, and again when the credential is old.
    pub(crate) async fn of_command(command: &[String], shown: &str) -> Result<Self, String> {
        let text = run(command).await?;
        Ok(Self(Arc::new(Link::new(text, shown.to_owned(), Some(command.into())))))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.newest().text
    }

    /// What stands for it in proofs.
    pub(crate) fn shown(&self) -> &str {
        &self.0.shown
    }

    /// Runs the program again, if the credential is a program's and old enough to have expired.
    /// Whether there is a new one.
    pub(crate) async fn renew(&self) -> Result<bool, String> {
        let newest = self.newest();
        let Some(command) = newest.command.as_ref().filter(|_| newest.born.elapsed() > FRESH)
        else {
            return Ok(false);
        };
        let text = run(command).await?;
        let next = Link::new(text, newest.shown.clone(), Some(Arc::clone(command)));
        // Whoever else was refused at the same time may have been faster: theirs is as good.
        let _ = newest.next.set(Arc::new(next));
        Ok(true)
    }

    fn newest(&self) -> &Link {
        let mut link = &*self.0;
        while let Some(next) = link.next.get() {
            link = next;
        }
        link
    }
}

impl Link {
    fn new(text: String, shown: String, command: Option<Arc<[String]>>) -> Self {
        let (text, born) = (Zeroizing::new(text), Instant::now());
        Self { text, shown, command, born, next: OnceLock::new() }
    }
}

/// Whether a text is the secret itself, and not where it is to be found.
pub(super) fn literal(text: &str) -> bool {
    !text.starts_with("env:") && !text.starts_with("file:")
}

/// The secret that a text of the target file stands for.
pub(crate) fn resolve(text: &str) -> Result<String, String> {
    let secret = match text.split_once(':') {
        Some(("env", name)) => {
            std::env::var(name).map_err(|_| format!("the environment has no variable {name}"))?
        }
        Some(("file", path)) => of_file(Path::new(path)).map_err(|why| format!("{path}: {why}"))?,
        _ => text.to_owned(),
    };
    sound(&secret)
}

fn of_file(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|why| why.to_string())?;
    file.take(MOST + 1).read_to_string(&mut text).map_err(|why| why.to_string())?;
    Ok(text)
}

/// Trimmed, and fit to stand in a header.
fn sound(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text {
        "" => Err("it is empty".to_owned()),
        _ if text.len() as u64 > MOST => Err(format!("it is longer than {MOST} bytes")),
        _ if text.chars().any(char::is_control) => {
            Err("it is of several lines, or has control characters".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

/// Runs a program, without a shell. What it says on standard error is nobody's to print.
async fn run(command: &[String]) -> Result<String, String> {
    let [program, arguments @ ..] = command else {
        return Err("token_cmd is empty".to_owned());
    };
    let told = |what: String| format!("token_cmd `{program}` {what}");
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|why| told(format!("cannot be run: {why}")))?;
    let mut said = Zeroizing::new(Vec::new());
    let ended = tokio::time::timeout(PATIENCE, async {
        if let Some(output) = child.stdout.take() {
            output.take(MOST + 1).read_to_end(&mut said).await?;
        }
        child.wait().await
    });
    let status = ended
        .await
        .map_err(|_| told(format!("did not end within {} s", PATIENCE.as_secs())))?
        .map_err(|why| told(why.to_string()))?;
    if !status.success() && (said.len() as u64) <= MOST {
        return Err(told(format!("ended with {status}; run it by hand to see why")));
    }
    let said = std::str::from_utf8(&said).map_err(|_| told("printed no text".to_owned()))?;
    sound(said).map_err(|why| told(format!("printed no credential: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_prints_the_credential() {
        let command =
            |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let token = Credential::of_command(&command(&["echo", " tok "]), "$A").await.unwrap();
        assert_eq!((token.expose(), token.shown()), ("tok", "$A"));
        assert!(!token.renew().await.unwrap(), "it is fresh");
        for (words, told) in [
            (&["false"][..], "token_cmd `false` ended with"),
            (&["/nowhere/tokens"], "token_cmd `/nowhere/tokens` cannot be run"),
            (&["true"], "it is empty"),
            (&["printf", "two\\nlines"], "several lines"),
            (&["yes"], "no credential"),
            (&[], "token_cmd is empty"),
        ] {
            let why = Credential::of_command(&command(words), "$A").await.unwrap_err();
            assert!(why.contains(told), "{why}");
            assert!(!why.contains("two"), "it tells what it read: {why}");
        }
    }

    #[tokio::test]
    async fn an_old_one_is_made_again_and_all_clones_have_it() {
        let made = tempfile::tempdir().unwrap();
        let file = made.path().join("token");
        std::fs::write(&file, "first").unwrap();
        let command = ["cat".to_owned(), file.display().to_string()];
        let token = Credential::of_command(&command, "$A").await.unwrap();
        let old = Credential(Arc::new(Link {
            born: Instant::now().checked_sub(FRESH * 2).unwrap(),
            ..Link::new("first".into(), "$A".into(), token.0.command.clone())
        }));
        let clone = old.clone();
        std::fs::write(&file, "second").unwrap();
        let before = clone.expose();
        assert!(old.renew().await.unwrap());
        assert_eq!((before, clone.expose(), clone.shown()), ("first", "second", "$A"));
        assert!(!clone.renew().await.unwrap(), "it is fresh again");
    }

    #[test]
    fn a_secret_is_read_where_the_file_says() {
        let made = tempfile::tempdir().unwrap();
        let file = made.path().join("token");
        std::fs::write(&file, "of a file\n").unwrap();
        assert_eq!(resolve(&format!("file:{}", file.display())).unwrap(), "of a file");
        assert_eq!(resolve("sk-1").unwrap(), "sk-1");
        assert_eq!(resolve("env:PATH").unwrap(), std::env::var("PATH").unwrap().trim());
        assert!(resolve("env:BULKHEAD_NO_SUCH").unwrap_err().contains("BULKHEAD_NO_SUCH"));
        assert!(resolve("file:/nowhere").unwrap_err().contains("/nowhere"));
        assert!(literal("sk-1") && !literal("env:X") && !literal("file:X"));
    }
}
