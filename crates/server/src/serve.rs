//! Serving a deployment on its two listeners, from start to an orderly end.

use std::{net::SocketAddr, sync::Arc, sync::atomic::Ordering, time::Duration};

use scope::Maintenance;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::{
    App, Deployment, Error, Plane,
    app::Public,
    deployment::system,
    files,
    listen::{Bound, Phases},
    reload::{self, Reloaded},
    selfprobe,
    settings::{CONTROL_PORT, DATA_PORT},
    tls::Certificate,
};

/// Serves deployments.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Binds both listeners and begins to serve.
    ///
    /// # Errors
    /// An address that is taken, a certificate that cannot be used.
    pub async fn start(deployment: Deployment) -> Result<Handle, Error> {
        let app = Arc::clone(&deployment.app);
        let data = Bound::bind(&app.settings.data, DATA_PORT, Plane::Data).await?;
        let control = Bound::bind(&app.settings.control, CONTROL_PORT, Plane::Control).await?;
        let (at_data, at_control) = (data.address, control.address);
        let scheme = if app.settings.data.tls.is_some() { "https" } else { "http" };
        let resource = app.settings.identity.resource.clone();
        let public = Public::new(resource.unwrap_or_else(|| format!("{scheme}://{at_data}")))?;
        // A deployment is moved in here, so this is the first time.
        let _ = app.public.set(public);
        app.selfprobe.serves_at([
            selfprobe::endpoint(&app.settings.data, at_data),
            selfprobe::endpoint(&app.settings.control, at_control),
        ]);
        let certificates = [&data, &control].map(|bound| bound.certificate.clone());
        let (phases, open) = (Phases::default(), TaskTracker::new());
        let shares = connections(app.settings.limits.connections);
        let accepting = [(data, shares.data), (control, shares.control)].map(|(bound, most)| {
            let (app, phases, open) = (Arc::clone(&app), phases.clone(), open.clone());
            system(Maintenance::Start).spawn(|_| bound.accept(app, phases, open, most))
        });
        let probing =
            system(Maintenance::Administration).spawn(|_| selfprobe::tend(Arc::clone(&app)));
        app.ready.store(true, Ordering::Release);
        tracing::info!(data = %at_data, control = %at_control, "serving");
        Ok(Handle {
            deployment,
            accepting,
            probing,
            certificates,
            phases,
            open,
            data: at_data,
            control: at_control,
        })
    }
}

/// How many connections each listener may have, with the files that the process may open.
fn connections(wanted: usize) -> files::Shares {
    let most = files::raise();
    let shares = files::shares(most, wanted);
    // Operators and services need no more, whatever agents may have.
    if shares.data < wanted || shares.control < wanted.min(1_024) {
        tracing::warn!(
            files = most,
            data = shares.data,
            control = shares.control,
            wanted,
            "the process may not open files for limits.connections: each listener has fewer; raise `ulimit -n` or LimitNOFILE"
        );
    }
    shares
}

/// A deployment that is served.
#[derive(Debug)]
pub struct Handle {
    deployment: Deployment,
    accepting: [JoinHandle<()>; 2],
    probing: JoinHandle<()>,
    /// Of the data plane and the control plane.
    certificates: [Option<Arc<Certificate>>; 2],
    phases: Phases,
    open: TaskTracker,
    data: SocketAddr,
    control: SocketAddr,
}

impl Handle {
    /// Where the data plane listens.
    #[must_use]
    pub const fn data_address(&self) -> SocketAddr {
        self.data
    }

    /// Where the control plane listens.
    #[must_use]
    pub const fn control_address(&self) -> SocketAddr {
        self.control
    }

    /// Reads certificates, keys and policies again, while serving. Each is looked at before it
    /// is used; a bad one leaves the old one in force, which the log says.
    pub async fn reload(&self) -> Reloaded {
        reload::all(&self.deployment.app, &self.certificates).await
    }

    /// Serves until the process is told to end (SIGINT or SIGTERM), then ends in order. Told
    /// twice, it does not wait for what is in flight.
    ///
    /// # Errors
    /// Signals that cannot be listened for; as [`Handle::shutdown`].
    pub async fn until_signal(self) -> Result<(), Error> {
        self.until(Hangups::none()).await
    }

    /// As [`Handle::until_signal`]; until then each SIGHUP is a [`Handle::reload`].
    ///
    /// # Errors
    /// As [`Handle::until_signal`].
    pub async fn until_signal_reloading(self) -> Result<(), Error> {
        self.until(Hangups::new().map_err(signals)?).await
    }

    async fn until(self, mut hangups: Hangups) -> Result<(), Error> {
        let mut signals = Signals::new().map_err(signals)?;
        loop {
            tokio::select! {
                () = signals.next() => break,
                () = hangups.next() => drop(self.reload().await),
            }
        }
        tracing::info!("told to end: finishing what is in flight");
        let over = self.phases.over.clone();
        let ending = self.shutdown();
        tokio::pin!(ending);
        tokio::select! {
            ended = &mut ending => return ended,
            () = signals.next() => over.cancel(),
        }
        ending.await
    }

    /// Ends in order: `/health/ready` says no; the listeners close; what is in flight
    /// finishes, or is cut off when its time is over; records are written and files closed.
    ///
    /// # Errors
    /// What closing answers; all is tried.
    pub async fn shutdown(self) -> Result<(), Error> {
        let Self { deployment, accepting, probing, phases, open, .. } = self;
        let app: &App = &deployment.app;
        app.ready.store(false, Ordering::Release);
        let limits = &app.settings.limits;
        let notice = Duration::from_secs(limits.drain_notice_seconds);
        tokio::select! {
            () = tokio::time::sleep(notice) => {}
            () = phases.over.cancelled() => {}
        }
        // It clears up while it still can.
        app.selfprobe.end();
        tokio::select! {
            _ = probing => {}
            () = phases.over.cancelled() => {}
        }
        phases.closing.cancel();
        for task in accepting {
            // A panic there was reported there.
            let _ = task.await;
        }
        open.close();
        let patience = Duration::from_secs(limits.drain_seconds);
        tokio::select! {
            () = open.wait() => {}
            () = tokio::time::sleep(patience) => phases.over.cancel(),
            () = phases.over.cancelled() => {}
        }
        open.wait().await;
        deployment.close().await
    }
}

fn signals(why: std::io::Error) -> Error {
    Error::File { path: "signals".into(), why }
}

/// The signals that tell a process to end.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// The signals that tell a process to read its files again.
struct Hangups {
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Hangups {
    /// Not listened for: a hang-up ends the process, as the system has it.
    const fn none() -> Self {
        Self {
            #[cfg(unix)]
            hangup: None,
        }
    }

    fn new() -> std::io::Result<Self> {
        #[cfg(unix)]
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            #[cfg(unix)]
            hangup: Some(signal(SignalKind::hangup())?),
        })
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(hangup) = &mut self.hangup
            && hangup.recv().await.is_some()
        {
            return;
        }
        // No more will come.
        std::future::pending().await
    }
}
