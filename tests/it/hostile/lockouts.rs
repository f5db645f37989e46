//! Wrong passwords: whoever guesses is slowed down, and whoever knows the password is not shut out.

use std::net::{IpAddr, SocketAddr};

use serde_json::json;
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_server::config::{AddressHeader, Network};
use tollgate_tests::client::{Connection, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::managed;

const PASSWORD: &str = "correct horse battery";

async fn rig(trusted: &[&str], header: &str) -> Rig {
    let rig = Rig::with(|setup| {
        let server = &mut setup.config.server;
        server.trusted_proxies = trusted.iter().map(|text| network(text)).collect();
        server.client_address_header = AddressHeader::try_from(header.to_owned()).expect("a header");
    })
    .await;
    let desk = rig.desk().await;
    for name in ["root", "carol"] {
        let password = Some(Secret::new(PASSWORD.to_owned()));
        managed::add_account(&desk, name, Role::Admin, password, Micropoints::ZERO)
            .await
            .expect("an account");
    }
    desk.close().await;
    rig
}

fn network(text: &str) -> Network {
    Network::try_from(text.to_owned()).expect("a network")
}

/// Logs in from an address of this machine, with headers that say more.
async fn log_in(rig: &Rig, from: &str, headers: &[(&str, &str)], name: &str, password: &str) -> Reply {
    let from: IpAddr = from.parse().expect("an address");
    let mut connection = Connection::open_from(SocketAddr::new(from, 0), rig.admin_addr()).await;
    let mut request = Request::post("/management/v1/login", &json!({"name": name, "password": password}));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    answer(&mut connection, &request).await
}

async fn answer(connection: &mut Connection, request: &Request) -> Reply {
    connection.send(request).await;
    connection.reply().await
}

async fn guess(rig: &Rig, from: &str, headers: &[(&str, &str)], name: &str) -> u16 {
    log_in(rig, from, headers, name, "a wrong password").await.status
}

#[tokio::test]
async fn who_guesses_is_slowed_down_and_the_one_who_is_guessed_at_is_not() {
    let rig = rig(&[], "x-forwarded-for").await;
    for _ in 0..5 {
        assert_eq!(guess(&rig, "127.0.0.2", &[], "root").await, 401);
    }
    for _ in 0..3 {
        assert_eq!(guess(&rig, "127.0.0.2", &[], "root").await, 429);
    }
    // Whoever guesses may be right: not now.
    assert_eq!(log_in(&rig, "127.0.0.2", &[], "root", PASSWORD).await.status, 429);
    let locked = log_in(&rig, "127.0.0.2", &[], "root", PASSWORD).await;
    let wait: u64 = locked.header("retry-after").expect("how long").parse().expect("seconds");
    assert!(wait <= 60, "{wait}");
    for (from, name) in [("127.0.0.3", "root"), ("127.0.0.1", "root"), ("127.0.0.2", "carol")] {
        assert_eq!(log_in(&rig, from, &[], name, PASSWORD).await.status, 200, "{name} at {from}");
    }
    // Names that nobody has are slowed down alike.
    for _ in 0..5 {
        assert_eq!(guess(&rig, "127.0.0.4", &[], "nobody").await, 401);
    }
    assert_eq!(guess(&rig, "127.0.0.4", &[], "nobody").await, 429);
    rig.stop().await;
}

#[tokio::test]
async fn many_names_from_one_address_are_slowed_down() {
    let rig = rig(&[], "x-forwarded-for").await;
    for count in 0..20 {
        assert_eq!(guess(&rig, "127.0.0.2", &[], &format!("user-{count}")).await, 401);
    }
    assert_eq!(guess(&rig, "127.0.0.2", &[], "user-20").await, 429);
    assert_eq!(log_in(&rig, "127.0.0.3", &[], "root", PASSWORD).await.status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn a_name_that_many_addresses_guess_at_logs_in_where_it_is_known() {
    let rig = rig(&[], "x-forwarded-for").await;
    assert_eq!(log_in(&rig, "127.0.0.1", &[], "root", PASSWORD).await.status, 200);
    let mut slowed = false;
    for host in 2..30 {
        for _ in 0..4 {
            slowed |= guess(&rig, &format!("127.0.0.{host}"), &[], "root").await == 429;
        }
    }
    assert!(slowed, "more than a hundred guesses, each address with a few");
    assert_eq!(log_in(&rig, "127.0.0.1", &[], "root", PASSWORD).await.status, 200);
    // And wherever else it comes, it waits for two seconds at most.
    let reply = log_in(&rig, "127.0.0.200", &[], "root", PASSWORD).await;
    let wait = reply.header("retry-after").map_or(0, |wait| wait.parse::<u64>().expect("seconds"));
    assert!(wait <= 2, "{wait}");
    rig.stop().await;
}

#[tokio::test]
async fn what_a_client_says_of_its_address_is_believed_from_trusted_proxies_alone() {
    let said = |address: &'static str| [("x-forwarded-for", address)];
    // Nobody is trusted: who writes another address into each guess is one and the same.
    let rig = self::rig(&[], "x-forwarded-for").await;
    for host in ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "1.1.1.5"] {
        assert_eq!(guess(&rig, "127.0.0.2", &said(host), "root").await, 401);
    }
    assert_eq!(guess(&rig, "127.0.0.2", &said("1.1.1.6"), "root").await, 429);
    rig.stop().await;
    // One proxy is: those behind it are told apart, and what they wrote themselves is not looked at.
    let rig = self::rig(&["127.0.0.9"], "x-forwarded-for").await;
    for spoofed in
        ["1.1.1.1, 9.9.9.9", "1.1.1.2, 9.9.9.9", "1.1.1.3,9.9.9.9", "127.0.0.9, 9.9.9.9", "junk, 9.9.9.9"]
    {
        assert_eq!(guess(&rig, "127.0.0.9", &[("x-forwarded-for", spoofed)], "root").await, 401);
    }
    assert_eq!(guess(&rig, "127.0.0.9", &said("9.9.9.9"), "root").await, 429);
    assert_eq!(log_in(&rig, "127.0.0.9", &said("8.8.8.8"), "root", PASSWORD).await.status, 200);
    // Of IPv6, a house has more addresses than anybody can count.
    for host in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:3", "2001:db8::4", "2001:db8:0:0:5::"] {
        assert_eq!(guess(&rig, "127.0.0.9", &said(host), "carol").await, 401);
    }
    assert_eq!(guess(&rig, "127.0.0.9", &said("2001:db8::6"), "carol").await, 429);
    assert_eq!(log_in(&rig, "127.0.0.9", &said("2001:db8:0:1::1"), "carol", PASSWORD).await.status, 200);
    // Who is no proxy is not believed.
    for host in ["7.7.7.1", "7.7.7.2", "7.7.7.3", "7.7.7.4", "7.7.7.5"] {
        guess(&rig, "127.0.0.7", &said(host), "carol").await;
    }
    assert_eq!(guess(&rig, "127.0.0.7", &said("7.7.7.6"), "carol").await, 429);
    rig.stop().await;
    // Another header, and the audit log, which names the client.
    let rig = self::rig(&["127.0.0.0/8"], "x-real-ip").await;
    let real = [("x-real-ip", "9.9.9.9"), ("x-forwarded-for", "6.6.6.6")];
    assert_eq!(log_in(&rig, "127.0.0.1", &real, "root", PASSWORD).await.status, 200);
    let mut connection = Connection::open(rig.admin_addr()).await;
    let made = Request::post("/management/v1/users", &json!({"name": "dora"}))
        .bearer(rig.admin_secret())
        .header("x-real-ip", "9.9.9.9");
    assert_eq!(answer(&mut connection, &made).await.status, 201);
    let audit = rig.admin("GET", "/management/v1/audit?action=user.create").await.json();
    assert_eq!(audit["data"][0]["address"], "9.9.9.9");
    rig.stop().await;
}

#[tokio::test]
async fn guesses_at_ones_own_password_are_slowed_down_too() {
    let rig = rig(&[], "x-forwarded-for").await;
    let token = log_in(&rig, "127.0.0.1", &[], "carol", PASSWORD).await.json()["access_token"].clone();
    let token = token.as_str().expect("a token").to_owned();
    let change = json!({"old_password": "a wrong password", "new_password": "another long one"});
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let mut connection = Connection::open(rig.admin_addr()).await;
        let request = Request::post("/management/v1/me/password", &change).bearer(&token);
        statuses.push(answer(&mut connection, &request).await.status);
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    assert_eq!(log_in(&rig, "127.0.0.5", &[], "carol", PASSWORD).await.status, 200);
    rig.stop().await;
}
