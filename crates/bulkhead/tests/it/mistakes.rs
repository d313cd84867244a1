//! Every mistake is told: what was wrong, where, and what to do.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::Path};

use super::deployment::{Deployment, Told, bulkhead, file};

const NOWHERE: &str = "http://127.0.0.1:9/v1";

/// A mistake in a deployment that is not running, and what `serve` says about it.
struct Mistake {
    name: &'static str,
    make: fn(&Deployment),
    told: &'static [&'static str],
}

fn edit(deployment: &Deployment, from: &str, to: &str) {
    let path = deployment.path().join("bulkhead.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "an unknown field",
        make: |deployment| edit(deployment, "#connections = 4096", "conections = 4096"),
        told: &["bulkhead.toml:", "unknown field `conections`", "did you mean `connections`?"],
    },
    Mistake {
        name: "no TOML",
        make: |deployment| edit(deployment, "[limits]", "[limits"),
        told: &["bulkhead.toml:"],
    },
    Mistake {
        name: "a value out of bounds",
        make: |deployment| edit(deployment, "#connections = 4096", "connections = 0"),
        told: &["bulkhead.toml", "limits.connections"],
    },
    Mistake {
        name: "no root key",
        make: |deployment| fs::remove_file(deployment.path().join("keys/root.key")).unwrap(),
        told: &["root.key", "put the file back"],
    },
    Mistake {
        name: "a root key that others may read",
        make: |deployment| mode(&deployment.path().join("keys/root.key"), 0o644),
        told: &["root.key", "0644", "chmod"],
    },
    Mistake {
        name: "another root key",
        make: |deployment| {
            let key = format!("rk1:aaaa:{}\n", "A".repeat(43));
            fs::write(deployment.path().join("keys/root.key"), key).unwrap();
        },
        told: &["vault.no_root", "→"],
    },
    Mistake {
        name: "no keystore",
        make: |deployment| fs::remove_file(deployment.path().join("keys/keystore.db")).unwrap(),
        told: &["no keystore", "backup"],
    },
    Mistake {
        name: "files of a newer program",
        make: |deployment| {
            let conn = rusqlite::Connection::open(file(deployment, "core.db")).unwrap();
            conn.pragma_update(None, "user_version", 99).unwrap();
        },
        told: &["store.newer", "99", "newer bulkhead"],
    },
    Mistake {
        name: "a file that is none of ours",
        make: |deployment| fs::write(file(deployment, "core.db"), [7; 8192]).unwrap(),
        told: &["store.corrupt", "restore"],
    },
    Mistake {
        name: "a place that cannot be written",
        make: |deployment| {
            edit(deployment, "#dir = \"data\"", "dir = \"/proc/self/fdinfo\"");
        },
        told: &["store.read_only", "/proc/self/fdinfo", "mount"],
    },
    Mistake {
        name: "a policy that does not fit the schema",
        make: |deployment| {
            edit(deployment, "# file = \"policy.cedar\"", "file = \"policy.cedar\"");
            let policy =
                "permit (principal, action, resource) when { principal.tennant == \"a\" };";
            fs::write(deployment.path().join("policy.cedar"), policy).unwrap();
        },
        told: &["tennant"],
    },
    Mistake {
        name: "a certificate that is not there",
        make: |deployment| {
            edit(
                deployment,
                "[data]\n",
                "[data]\ntls = { certificate = \"c.pem\", key = \"k.pem\" }\n",
            );
        },
        told: &["TLS", "c.pem"],
    },
];

#[test]
fn serve_says_what_is_wrong_and_where() {
    for Mistake { name, make, told } in MISTAKES {
        let deployment = Deployment::made(NOWHERE);
        make(&deployment);
        let said = deployment.tell(&["serve", "--check"]);
        // A certificate is read when the listener is bound, which --check does not do.
        let said = if said.status == 0 { deployment.tell(&["serve"]) } else { said };
        assert_eq!(said.status, 1, "{name}: {said:?}");
        for text in *told {
            assert!(said.err.contains(text), "{name}: {text:?} is not in {}", said.err);
        }
        let doctor = deployment.tell(&["doctor", "--offline"]);
        let whole = *name == "a place that cannot be written";
        assert!(doctor.status == 1 || whole, "{name}: the doctor sees nothing: {doctor:?}");
    }
}

#[test]
fn a_port_in_use_is_told_with_who_to_ask() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let deployment = Deployment::made(NOWHERE);
    edit(&deployment, "address = \"127.0.0.1:0\"", &format!("address = \"{address}\""));
    let said = deployment.tell(&["serve"]);
    assert_eq!(said.status, 1, "{said:?}");
    let port = format!("sport = :{}", address.port());
    for text in ["server.listen", &address.to_string(), &port, "bulkhead.toml"] {
        assert!(said.err.contains(text), "{text:?} is not in {}", said.err);
    }
}

#[test]
fn a_second_server_is_told_that_the_first_is_there() {
    let deployment = Deployment::started(NOWHERE);
    for command in ["serve", "restore"] {
        let args: &[&str] = if command == "restore" { &["restore", "copy"] } else { &["serve"] };
        let said = deployment.tell(args);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.err.contains('→'), "{said:?}");
    }
    assert!(deployment.tell(&["serve"]).err.contains("a bulkhead is running there"));
    assert!(deployment.tell(&["doctor", "--offline"]).out.contains("a bulkhead is running there"));
}

#[test]
fn init_overwrites_nothing() {
    let deployment = Deployment::made(NOWHERE);
    let before = fs::read(deployment.path().join("keys/root.key")).unwrap();
    let said = Told::of(bulkhead().arg("init").arg(deployment.path()).output().unwrap());
    assert_eq!(said.status, 1, "{said:?}");
    for name in
        ["bulkhead.toml", "root.key", "keystore.db", "operator.token", "nothing was changed"]
    {
        assert!(said.err.contains(name), "{name}: {}", said.err);
    }
    assert_eq!(fs::read(deployment.path().join("keys/root.key")).unwrap(), before);
}

#[test]
fn secrets_are_nobody_elses_to_read() {
    let deployment = Deployment::made(NOWHERE);
    for (name, expected) in
        [("operator.token", 0o600), ("keys/root.key", 0o600), ("keys", 0o700), ("data", 0o700)]
    {
        let found = fs::metadata(deployment.path().join(name)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, expected, "{name}");
    }
    mode(&deployment.path().join("operator.token"), 0o644);
    let doctor = deployment.tell(&["doctor", "--offline"]);
    assert_eq!(doctor.status, 1, "{doctor:?}");
    assert!(doctor.out.contains("chmod 0600"), "{doctor:?}");
    let shown = deployment.run(&["config", "show"]).out;
    assert!(shown.contains("root_key") && !shown.contains("rk1:"), "{shown}");
}

#[test]
fn the_exit_status_tells_refused_from_misused_from_unreachable() {
    let deployment = Deployment::started(NOWHERE);
    deployment.run(&["tenant", "create", "acme", "-e", "live"]);
    let wrong = deployment.path().join("wrong");
    let wrong = wrong.to_str().unwrap();
    let operator = deployment.operator();
    fs::write(wrong, operator.replace(&operator[14..24], "AAAAAAAAAA")).unwrap();
    let cases: [(&[&str], i32, &str); 12] = [
        (&["tenant", "show", "nobody"], 1, "directory.missing"),
        (&["tenant", "create", "UPPER", "-e", "live"], 1, "request.malformed"),
        (&["tenant", "list", "--token-file", wrong], 1, "the operator credential was not taken"),
        (&["tenant", "list", "--token-file", "/nowhere"], 1, "/nowhere"),
        (&["tenant", "erase", "acme", "--reason", "gone"], 2, "--yes"),
        (&["tenant", "erase", "acme", "--yes"], 2, "--reason"),
        (&["tenant", "suspend", "acme"], 2, "--reason"),
        (&["tenant", "revoke", "acme"], 2, "--reason"),
        (&["tenant", "list", "--limit", "many"], 2, "many"),
        (&["access", "token", "-t", "a", "-e", "live", "-w", "b", "--ttl", "1w"], 2, "15m"),
        (&["nonsense"], 2, "nonsense"),
        (
            &["config", "check", "--config", "/nowhere/b.toml", "--dir", "/nowhere"],
            1,
            "bulkhead init",
        ),
    ];
    for (args, status, text) in cases {
        let mut command = bulkhead();
        command.args(args);
        if !args.contains(&"--dir") {
            command.arg("--dir").arg(deployment.path());
            command.args(["--url", deployment.control("").as_str()]);
        }
        let said = Told::of(command.output().unwrap());
        assert_eq!(said.status, status, "{args:?}: {said:?}");
        assert!(said.err.contains(text), "{args:?}: {text:?} is not in {}", said.err);
        assert!(said.out.is_empty(), "{args:?}: {said:?}");
    }
    let mut away = bulkhead();
    away.args(["tenant", "list", "--url", "http://127.0.0.1:1", "--dir"]).arg(deployment.path());
    let said = Told::of(away.output().unwrap());
    assert_eq!(said.status, 3, "{said:?}");
    assert!(said.err.contains("http://127.0.0.1:1") && said.err.contains("serve"), "{said:?}");
    let mut nobody = bulkhead();
    nobody.args(["tenant", "list", "--dir", "/nowhere"]);
    let said = Told::of(nobody.output().unwrap());
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.err.contains("no operator credential"), "{said:?}");
}
