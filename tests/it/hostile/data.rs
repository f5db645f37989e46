//! What is kept: no second server writes to it, no key takes the place of one that is lost, nothing that is missing
//! goes unsaid, nobody who just asks makes it, and nobody else on the machine reads it.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::install::{Install, call, finished, text};

const DATABASE: &str = "tollgate.db";

fn remove(install: &Install, names: &[&str]) {
    for name in names {
        fs::remove_file(install.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Changes the bytes of a file in their place.
fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    change(&mut bytes);
    fs::write(path, bytes).expect("a file");
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
}

#[tokio::test]
async fn a_second_server_is_refused_whatever_was_removed() {
    let (install, key) = Install::with_alice("").await;
    let first = install.start().await;
    call(&first, &key, 2).await;
    let taken = async |install: &Install, what: &str| {
        let said = install.refused_start().await;
        assert!(said.contains("another process serves"), "{what}: {said}");
    };
    taken(&install, "as it is").await;
    remove(&install, &["tollgate.db.lock"]);
    taken(&install, "without the lock's file").await;
    remove(&install, &["tollgate.db.lock", "tollgate.db.node"]);
    taken(&install, "without lock and node").await;
    let other = Install::empty("").await;
    symlink(install.data(), other.data()).expect("a link");
    taken(&other, "by another path").await;
    let kept = install.dir.path().join("moved");
    fs::rename(install.data(), &kept).expect("a move");
    symlink(&kept, install.data()).expect("a link");
    remove(&install, &["tollgate.db.lock"]);
    taken(&install, "after a move").await;
    remove(&install, &["tollgate.db.lock", "tollgate.db.journal-0", "tollgate.db.journal-1"]);
    taken(&install, "without lock and journal").await;
    // Commands write beside it all the same.
    install.ok(&["user", "add", "bob"]);
    call(&first, &key, 2).await;
    first.kill().await;
}

#[tokio::test]
async fn of_servers_that_start_at_one_moment_one_serves_and_a_lock_of_the_dead_holds_nobody_up() {
    let (install, key) = Install::with_alice("").await;
    install.start().await.kill().await;
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let mut command = tokio::process::Command::from(install.command(&["serve"]));
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        starts.spawn(async move { command.output().await.expect("the binary runs") });
    }
    for _ in 0..2 {
        let ended = tollgate_tests::patiently("the end of a server too many", starts.join_next()).await;
        let said = text(&ended.expect("three started").expect("no panic").stderr);
        assert!(said.contains("another process serves"), "{said}");
    }
    starts.shutdown().await;
    let last = install.start().await;
    call(&last, &key, 1).await;
}

type Change<'a> = Box<dyn Fn() + 'a>;

#[tokio::test]
async fn a_master_key_that_is_lost_or_wrong_is_said_and_no_new_one_is_made() {
    let (install, key) = Install::with_alice("").await;
    let path = install.file("master.key");
    let right = fs::read(&path).expect("a key");
    let put = |bytes: &[u8]| {
        let _gone = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        fs::write(&path, bytes).expect("a key");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("its mode");
    };
    let bytes = |digit: u8, count: usize| vec![digit; count];
    let is_written =
        |what: &str| !["removed", "a directory", "a pipe", "a device", "a link to nothing"].contains(&what);
    let cases: Vec<(&str, Change<'_>, &str)> = vec![
        ("removed", Box::new(|| ()), "there is no"),
        ("empty", Box::new(|| put(b"")), "it is empty"),
        ("blank", Box::new(|| put(b" \n")), "it is empty"),
        ("truncated", Box::new(|| put(&right[..40])), "64 hexadecimal digits, and 40 characters"),
        ("too long", Box::new(|| put(&bytes(b'0', 65))), "64 hexadecimal digits, and 65 characters"),
        ("no digits", Box::new(|| put(&bytes(b'x', 64))), "64 hexadecimal digits"),
        ("no text", Box::new(|| put(&bytes(0xff, 64))), "no text"),
        ("huge", Box::new(|| put(&bytes(b'0', 1 << 20))), "longer than"),
        ("another key", Box::new(|| put(&bytes(b'0', 64))), "another master key"),
        ("a directory", Box::new(|| fs::create_dir(&path).expect("a directory")), "a directory"),
        ("a pipe", Box::new(|| pipe(&path)), "a pipe"),
        ("a device", Box::new(|| symlink("/dev/zero", &path).expect("a link")), "a device"),
        ("a link to nothing", Box::new(|| symlink("/no/such/key", &path).expect("a link")), "there is no"),
    ];
    for (what, spoil, reason) in cases {
        put(&right);
        if !is_written(what) {
            fs::remove_file(&path).expect("removed");
        }
        spoil();
        let said = install.refused(&["user", "list"]);
        assert!(said.contains(reason) && said.contains("master.key"), "{what}: {said}");
        assert!(!said.contains("0000"), "{what}: {said}");
        let is_new = what == "removed" && path.exists() || what == "a link to nothing" && path.is_file();
        assert!(!is_new, "{what}: a new key was made");
    }
    let _spoilt = fs::remove_file(&path);
    put(&right);
    fs::remove_file(&path).expect("removed");
    let said = install.refused_start().await;
    assert!(said.contains("there is no") && said.contains("no new one was made"), "{said}");
    assert!(!path.exists());
    put(&right);
    call(&install.start().await, &key, 1).await;
}

#[tokio::test]
async fn a_master_key_of_the_environment_must_be_the_one_that_sealed() {
    let (install, _) = Install::with_alice("").await;
    let with = |value: &str| {
        let mut command = install.command(&["user", "list"]);
        command.env("TOLLGATE_MASTER_KEY", value);
        finished(command, "")
    };
    let right = fs::read_to_string(install.file("master.key")).expect("a key");
    for (value, reason) in
        [("", "64"), ("12", "64"), (&"0".repeat(64), "another master key"), ("\u{e9}", "64")]
    {
        let output = with(value);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains("TOLLGATE_MASTER_KEY"), "{value}: {said}");
        assert!(said.contains(reason), "{value}: {said}");
    }
    assert!(with(&right).status.success());
    // And with the right one in the environment the file is not needed, nor made.
    remove(&install, &["master.key"]);
    assert!(with(&right).status.success());
    assert!(!install.file("master.key").exists());
}

/// A data directory as `kill -9` leaves it amid traffic, with changes by management in between.
async fn crashed() -> (Install, String, PathBuf) {
    let (install, key) = Install::with_alice("").await;
    let process = install.start().await;
    call(&process, &key, 30).await;
    // All of it is in the tables by the end of a second, which the journal notes.
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    let older = install.dir.path().join("older.db");
    fs::copy(install.file(DATABASE), &older).expect("a copy");
    install.ok(&["user", "add", "bob", "--points", "7"]);
    install.ok(&["ledger", "grant", "alice", "5"]);
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    call(&process, &key, 30).await;
    process.kill().await;
    (install, key, older)
}

type Spoil<'a> = Box<dyn Fn(&Install) + 'a>;

/// Bytes of a segment that are written.
fn written(segment: &Path) -> usize {
    fs::read(segment).map_or(0, |bytes| bytes.iter().filter(|byte| **byte != 0).count())
}

/// What may be lost of a data directory, and the word that says so.
fn losses<'a>(install: &Install, older: &'a Path) -> Vec<(&'static str, Spoil<'a>, &'static str)> {
    let file = |install: &Install, name: &str| install.file(name);
    let busy = ["tollgate.db.journal-0", "tollgate.db.journal-1"]
        .into_iter()
        .max_by_key(|name| written(&install.file(name)))
        .expect("two segments");
    vec![
        ("no write-ahead log", Box::new(move |it| remove(it, &["tollgate.db-wal"])), "write-ahead log"),
        (
            "an empty write-ahead log",
            Box::new(move |it| fs::write(file(it, "tollgate.db-wal"), "").expect("emptied")),
            "write-ahead log",
        ),
        (
            "a write-ahead log of garbage",
            Box::new(move |it| change(&file(it, "tollgate.db-wal"), |bytes| bytes.fill(0x5a))),
            "write-ahead log",
        ),
        (
            "an older database",
            Box::new(move |it| {
                remove(it, &["tollgate.db-wal", "tollgate.db-shm"]);
                fs::copy(older, file(it, DATABASE)).expect("replaced");
            }),
            "older",
        ),
        (
            "half a database",
            Box::new(move |it| {
                remove(it, &["tollgate.db-wal", "tollgate.db-shm"]);
                change(&file(it, DATABASE), |bytes| bytes.truncate(bytes.len() / 2));
            }),
            "",
        ),
        (
            "an empty database",
            Box::new(move |it| fs::write(file(it, DATABASE), "").expect("emptied")),
            "empty or gone",
        ),
        ("no database", Box::new(move |it| remove(it, &[DATABASE])), "empty or gone"),
        ("no journal", Box::new(move |it| remove(it, &[busy])), "is gone"),
        (
            "no journal at all",
            Box::new(move |it| remove(it, &["tollgate.db.journal-0", "tollgate.db.journal-1"])),
            "is gone",
        ),
        (
            "an empty journal",
            Box::new(move |it| fs::write(file(it, busy), "").expect("emptied")),
            "ends or is damaged",
        ),
        (
            "a shorter journal",
            Box::new(move |it| change(&file(it, busy), |bytes| bytes.truncate(600))),
            "ends or is damaged",
        ),
        (
            "a flipped bit",
            Box::new(move |it| change(&file(it, busy), |bytes| bytes[900] ^= 1)),
            "is damaged between",
        ),
        (
            "a flipped bit at its beginning",
            Box::new(move |it| change(&file(it, busy), |bytes| bytes[3] ^= 0x40)),
            "is damaged between",
        ),
        (
            "zeros in its middle",
            Box::new(move |it| change(&file(it, busy), |bytes| bytes[512..1536].fill(0))),
            "is damaged between",
        ),
        (
            "a journal that is a pipe",
            Box::new(move |it| {
                remove(it, &[busy]);
                pipe(&file(it, busy));
            }),
            "a pipe",
        ),
    ]
}

#[tokio::test]
async fn what_is_missing_is_said_and_served_only_when_its_loss_is_accepted() {
    let (install, key, older) = crashed().await;
    for (what, spoil, reason) in losses(&install, &older) {
        let copy = install.copied().await;
        spoil(&copy);
        let said = copy.refused_start().await;
        assert!(said.contains(reason), "{what}: {said}");
        let can_be_accepted = said.contains("--accept-loss");
        assert!(
            can_be_accepted || matches!(what, "half a database" | "a journal that is a pipe"),
            "{what}: {said}"
        );
        // A command changes nothing of it, so that the next start says the same.
        let _looked = copy.run(&["user", "list"], "");
        let again = copy.refused_start().await;
        assert!(again.contains(reason), "{what}, again: {again}");
        if can_be_accepted && !what.contains("database") {
            let process = copy.start_accepting_loss().await;
            call(&process, &key, 3).await;
            process.kill().await;
            // What was accepted is not said again, and the books are right.
            let process = copy.start().await;
            call(&process, &key, 1).await;
            let verified = copy.run(&["ledger", "verify"], "");
            assert!(verified.status.success(), "{what}: {}", text(&verified.stdout));
        }
    }
}

#[tokio::test]
async fn what_a_crash_leaves_is_no_loss() {
    let (install, key, _) = crashed().await;
    let segments = ["tollgate.db.journal-0", "tollgate.db.journal-1"];
    let end = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let torn = |it: &Install, by: usize| {
        for name in segments {
            change(&it.file(name), |bytes| {
                let end = end(bytes);
                bytes[end.saturating_sub(by)..].fill(0);
            });
        }
    };
    for (what, by) in [("as it is", 0), ("a torn end", 3), ("half a frame at the end", 40)] {
        let copy = install.copied().await;
        torn(&copy, by);
        // Whether a command looks first changes nothing.
        if by > 0 {
            copy.ok(&["user", "list"]);
        }
        let process = copy.start().await;
        call(&process, &key, 1).await;
        process.kill().await;
        let _again = copy.start().await;
        assert!(copy.run(&["ledger", "verify"], "").status.success(), "{what}");
    }
    // A backup is the database alone.
    let backup = Install::empty("").await;
    fs::create_dir(backup.data()).expect("a directory");
    for name in [DATABASE, "tollgate.db-wal", "master.key"] {
        fs::copy(install.file(name), backup.file(name)).expect("a copy");
    }
    call(&backup.start().await, &key, 1).await;
}

#[tokio::test]
async fn after_an_orderly_end_the_journal_is_not_needed() {
    let (install, key) = Install::with_alice("").await;
    let process = install.start().await;
    call(&process, &key, 5).await;
    process.end().await;
    remove(&install, &["tollgate.db.journal-0", "tollgate.db.journal-1", "tollgate.db.lock"]);
    let process = install.start().await;
    call(&process, &key, 1).await;
}

#[tokio::test]
async fn a_database_of_another_installation_is_not_taken_for_its_own() {
    let (one, _) = Install::with_alice("").await;
    let (other, key) = Install::with_alice("").await;
    one.start().await.end().await;
    other.start().await.end().await;
    for name in [DATABASE, "master.key"] {
        fs::copy(other.file(name), one.file(name)).expect("a copy");
    }
    let said = one.refused_start().await;
    assert!(said.contains("another installation") && said.contains("--accept-loss"), "{said}");
    call(&one.start_accepting_loss().await, &key, 1).await;
}

#[tokio::test]
async fn whoever_just_asks_makes_no_data_directory() {
    let id = "01890000-0000-7000-8000-000000000000";
    let install = Install::empty("").await;
    for command in [
        "user list",
        "user disable bob",
        "user role bob admin",
        "key list",
        "key create --user bob",
        &format!("key revoke {id}"),
        "credential list",
        "credential reseal",
        &format!("credential disable {id}"),
        "price list",
        "price history",
        "code list",
        "ledger balance",
        "ledger verify",
        "ledger grant bob 5",
        "ledger requests",
        "requests list",
        "requests export",
        "requests prune",
        "usage summary",
        "usage show",
        "audit",
        &format!("receipt show {id}"),
        "receipt verify",
    ] {
        let args: Vec<&str> = command.split(' ').collect();
        let output = install.run(&args, "");
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains("there is no database"), "{command}: {said}");
        assert!(!install.data().exists(), "{command} made a data directory");
    }
    // Nor files in one that is there.
    fs::create_dir(install.data()).expect("a directory");
    install.refused(&["user", "list"]);
    assert_eq!(fs::read_dir(install.data()).expect("a directory").count(), 0);
    install.ok(&["user", "add", "bob"]);
    assert!(install.ok(&["user", "list"]).contains("bob"));
}

/// Every file and folder below a place that others than its owner may open.
fn open_to_others(place: &Path) -> Vec<(OsString, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(place).expect("a directory") {
        let entry = entry.expect("an entry");
        let is = entry.metadata().expect("what it is");
        let mode = is.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            found.push((entry.file_name(), mode));
        }
        if is.is_dir() {
            found.extend(open_to_others(&entry.path()));
        }
    }
    found
}

#[tokio::test]
async fn nobody_else_may_open_what_is_kept_whatever_the_umask() {
    let more = "[log.files]\ndir = \"logs\"\n[requests]\nkeep_records = 1\narchive_dir = \"archive\"\n";
    for umask in ["000", "022", "777"] {
        let install = Install::empty(more).await;
        let run = |args: &str| {
            let binary = super::install::BINARY;
            let config = install.config.display();
            let mut shell = Command::new("sh");
            shell.current_dir(install.dir.path());
            shell.arg("-c").arg(format!("umask {umask}; exec {binary} --config {config} {args}"));
            shell
        };
        let made = finished(run("user add alice --points 5"), "");
        assert!(made.status.success(), "{}", text(&made.stderr));
        let mut server = tokio::process::Command::from(run("serve"));
        server.stdout(std::process::Stdio::piped()).kill_on_drop(true);
        let mut server = server.spawn().expect("the binary runs");
        let mut lines = tokio::io::BufReader::new(server.stdout.take().expect("its output"));
        let mut line = String::new();
        let read = tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line);
        tollgate_tests::patiently("the server's first line", read).await.expect("it serves");
        assert_eq!(open_to_others(&install.data()), [], "umask {umask}");
        assert_eq!(open_to_others(&install.dir.path().join("logs")), [], "umask {umask}");
        let mode = fs::metadata(install.data()).expect("a directory").permissions().mode() & 0o777;
        assert_eq!(mode, 0o700);
    }
}

#[tokio::test]
async fn files_that_others_could_open_are_closed_to_them_at_a_start() {
    let (install, key) = Install::with_alice("").await;
    install.start().await.kill().await;
    let names = [DATABASE, "tollgate.db-wal", "tollgate.db.journal-0", "tollgate.db.journal-1"];
    let others = ["tollgate.db-shm", "tollgate.db.node", "tollgate.db.lock"];
    for name in names.iter().chain(&others) {
        fs::set_permissions(install.file(name), Permissions::from_mode(0o666)).expect("its mode");
    }
    let process = install.start().await;
    call(&process, &key, 1).await;
    assert_eq!(open_to_others(&install.data()), []);
}
