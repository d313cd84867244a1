//! Runs a target over mutations of its seeds until the time is up or so many inputs were tried. Needs no nightly
//! compiler. A failing input is kept in fuzz/artifacts, and can be given again as a file.

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::{BuildHasher, Hasher},
    panic,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use bulkhead_fuzz::{
    TARGETS, Target,
    mutation::{Chance, mutate},
};

const USAGE: &str = "mutate TARGET [--seed N] [--seconds N] [--inputs N] | mutate TARGET FILE…";

struct Arguments {
    target: &'static Target,
    seed: u64,
    seconds: u64,
    inputs: u64,
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("{wrong}\nusage: {USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let outcome =
        if arguments.files.is_empty() { hunt(&arguments, folder) } else { replay(&arguments) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("{wrong}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Arguments, String> {
    let mut rest = std::env::args().skip(1);
    let name = rest.next().ok_or("no target")?;
    let target = TARGETS
        .iter()
        .find(|target| target.name == name)
        .ok_or_else(|| format!("no target {name}"))?;
    let mut found = Arguments {
        target,
        seed: RandomState::new().build_hasher().finish(),
        seconds: u64::MAX,
        inputs: u64::MAX,
        files: Vec::new(),
    };
    while let Some(argument) = rest.next() {
        let mut number = || {
            let text = rest.next().unwrap_or_default();
            text.parse::<u64>().map_err(|_| format!("{argument} needs a number"))
        };
        match argument.as_str() {
            "--seed" => found.seed = number()?,
            "--seconds" => found.seconds = number()?,
            "--inputs" => found.inputs = number()?,
            _ => found.files.push(argument.into()),
        }
    }
    if found.files.is_empty() && found.seconds == u64::MAX && found.inputs == u64::MAX {
        found.seconds = 60;
    }
    Ok(found)
}

fn replay(arguments: &Arguments) -> Result<(), String> {
    for file in &arguments.files {
        let input = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        (arguments.target.run)(&input);
    }
    Ok(())
}

fn hunt(arguments: &Arguments, folder: &Path) -> Result<(), String> {
    let target = arguments.target;
    let corpus = seeds(&folder.join("seeds").join(target.name))?;
    let begun = Instant::now();
    let mut chance = Chance::new(arguments.seed);
    let mut tried = 0;
    // Every seed as it is, then mutations of them.
    while tried < arguments.inputs && begun.elapsed() < Duration::from_secs(arguments.seconds) {
        let seed = usize::try_from(tried).ok().and_then(|at| corpus.get(at)).cloned();
        let input = seed.unwrap_or_else(|| mutate(&mut chance, &corpus, target.words));
        if panic::catch_unwind(|| (target.run)(&input)).is_err() {
            let file = keep(folder, target.name, arguments.seed, tried, &input)?;
            return Err(format!(
                "{}: input {tried} of seed {} fails; it is kept in {}",
                target.name,
                arguments.seed,
                file.display()
            ));
        }
        tried += 1;
    }
    println!(
        "{}: {tried} inputs in {:.1} s, seed {}, {} seeds",
        target.name,
        begun.elapsed().as_secs_f64(),
        arguments.seed,
        corpus.len()
    );
    Ok(())
}

fn seeds(folder: &Path) -> Result<Vec<Vec<u8>>, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut paths = fs::read_dir(folder)
        .map_err(wrong)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(wrong)?;
    // The order of a folder is the file system's; a seed must mean the same everywhere.
    paths.sort();
    if paths.is_empty() {
        return Err(format!("{} holds no seeds", folder.display()));
    }
    paths.iter().map(|path| fs::read(path).map_err(wrong)).collect()
}

fn keep(
    folder: &Path,
    target: &str,
    seed: u64,
    number: u64,
    input: &[u8],
) -> Result<PathBuf, String> {
    let folder = folder.join("artifacts").join(target);
    let file = folder.join(format!("{seed}-{number}"));
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&file, input))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(file)
}
