//! How many files the process may have open, and how many of them are for connections.

/// Raises the process's own bound as far as it may, and gives what it is then; nothing if there
/// is none, or it cannot be known.
#[cfg(unix)]
pub(crate) fn raise() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    if now.current != now.maximum {
        let most = Rlimit { current: now.maximum, maximum: now.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, most) {
            // It goes on with what it has.
            tracing::warn!(%error, "the bound on open files could not be raised");
        }
    }
    getrlimit(Resource::Nofile).current.map(|most| usize::try_from(most).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
pub(crate) fn raise() -> Option<usize> {
    None
}

/// Most connections of each listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) data: usize,
    pub(crate) control: usize,
}

/// Divides what the process may open. Some is for data files and what else there is; then the
/// control plane has a share that agents cannot use up, and each connection of the data plane
/// may need another one to a provider.
pub(crate) fn shares(files: Option<usize>, wanted: usize) -> Shares {
    let Some(files) = files else { return Shares { data: wanted, control: wanted } };
    let usable = files - (files / 4).min(256);
    let control = wanted.min((usable / 8).max(1));
    let data = wanted.min(((usable.saturating_sub(control)) / 2).max(1));
    Shares { data, control }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_planes_together_leave_enough_for_the_rest() {
        for (files, wanted, data, control) in [
            (None, 4_096, 4_096, 4_096),
            (Some(1 << 20), 4_096, 4_096, 4_096),
            (Some(1_024), 4_096, 336, 96),
            (Some(1_024), 10, 10, 10),
            (Some(64), 4_096, 21, 6),
        ] {
            let shares = shares(files, wanted);
            assert_eq!(shares, Shares { data, control }, "{files:?} {wanted}");
            assert!(files.is_none_or(|files| 2 * shares.data + shares.control < files));
        }
    }

    #[cfg(unix)]
    #[test]
    fn it_is_raised_as_far_as_it_may_be() {
        use rustix::process::{Resource, getrlimit};
        raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
