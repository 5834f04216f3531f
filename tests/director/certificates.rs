//! Checks behind TLS: certificates that are good, expired, for somebody else, of nobody known, and not their owner's.
//!
//! They are made by the `openssl` program, and shown by a server of rustls's.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, Stream, version};
use systole::config::{Certificate, CheckKind, Expect, Tls};
use systole::director::check::perform::{Means, Prepared, perform};

use super::world::{
    SOON, Test, alone, answer, bad, check, hold, page, runtime, server, soon, target, text, well,
};

pub(crate) const TESTS: &[Test] = &[
    made("a_certificate_is_judged_as_the_check_says", || alone(judged)),
    made("a_handshake_with_anothers_certificate_is_bad_whatever_the_check_says", || alone(stolen)),
    made("a_certificate_that_has_come_since_is_seen", || alone(renewed)),
    made("pages_and_talks_go_through_tls", || alone(through)),
    made("a_server_that_speaks_no_tls_is_told_by_what_it_did", || alone(no_tls)),
];

const fn made(name: &'static str, run: fn()) -> Test {
    let needs = || match Command::new("openssl").arg("version").output() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("there is no openssl to make certificates with: {error}")),
    };
    Test { name, run, needs }
}

/// An authority, and what it and others have signed.
pub(crate) fn make(folder: &Path) {
    let text = r#"
cd "$1"
exec 2>log
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
key ca
openssl req -x509 -key ca.key -subj "/CN=authority" -days 30 -out ca.pem
key self
openssl req -x509 -key self.key -subj "/CN=self" -addext "subjectAltName=DNS:www.example.org" -days 30 -out self.pem
printf '[ca]\ndefault_ca=a\n[a]\ndatabase=index\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n' >ca.cnf
touch index
echo 01 >serial
signed() { # name, names, from, until
    key "$1"
    openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
    printf 'subjectAltName=%s\n' "$2" >"$1.ext"
    openssl ca -batch -config ca.cnf -cert ca.pem -keyfile ca.key -in "$1.csr" -out "$1.crt" -notext -extfile "$1.ext" -startdate "$3" -enddate "$4"
    cp "$1.crt" "$1.pem"
}
signed good DNS:www.example.org,IP:127.0.0.1 20200101000000Z 20990203000000Z
signed other DNS:mail.example.org 20200101000000Z 20990203000000Z
signed expired DNS:www.example.org,IP:127.0.0.1 20200101000000Z 20210203000000Z
signed early DNS:www.example.org,IP:127.0.0.1 20980504000000Z 20990203000000Z
"#;
    let made = Command::new("bash").args(["-euc", text, "bash"]).arg(folder).status().unwrap();
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    assert!(made.success(), "{log}");
}

/// Shows a certificate, whoever's key it has.
#[derive(Debug)]
struct Shown(Mutex<Arc<CertifiedKey>>);

impl Shown {
    fn new(folder: &Path, certificate: &str, key: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Self::read(folder, certificate, key))))
    }

    fn read(folder: &Path, certificate: &str, key: &str) -> Arc<CertifiedKey> {
        let pem = folder.join(format!("{certificate}.pem"));
        let chain = CertificateDer::pem_file_iter(pem).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(folder.join(format!("{key}.key"))).unwrap();
        Arc::new(CertifiedKey::new(chain, any_supported_type(&key).unwrap()))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().unwrap()))
    }
}

/// A server behind TLS that answers with a page.
fn tls_server(shown: &Arc<Shown>, is_old: bool) -> SocketAddr {
    let versions: &[_] = if is_old { &[&version::TLS12] } else { &[&version::TLS13] };
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap().with_no_client_auth();
    let config = Arc::new(builder.with_cert_resolver(Arc::clone(shown) as Arc<dyn ResolvesServerCert>));
    server(move |mut stream| {
        let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = Stream::new(&mut connection, &mut stream);
        let mut buffer = [0; 1024];
        // A client that does not like the certificate goes away.
        if tls.read(&mut buffer).is_ok_and(|length| length > 0) {
            let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nwelcome");
            let _ = tls.flush();
        }
        hold(stream);
    })
}

fn tls(name: Option<&str>, certificate: Certificate) -> Tls {
    Tls { name: name.map(str::to_owned), certificate }
}

fn judged() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let by = |file: &str| Certificate::TrustedBy(folder.path().join(file));
    let www = Some("www.example.org");
    let ours = || by("ca.pem");
    for is_old in [false, true] {
        let verdict = |shown: &str, name: Option<&str>, certificate: Certificate| {
            let server = tls_server(&Shown::new(folder.path(), shown, shown), is_old);
            super::world::once(&check(CheckKind::Tls(tls(name, certificate))), server)
        };
        let well = |shown: &str, name: Option<&str>, certificate: Certificate, answer: &str| {
            assert_eq!(verdict(shown, name, certificate), systole::director::check::Verdict::well(answer));
        };
        let bad = |shown: &str, name: Option<&str>, certificate: Certificate, why: &str| {
            assert_eq!(verdict(shown, name, certificate), systole::director::check::Verdict::bad(why));
        };
        well("good", www, ours(), "certificate until 3 February 2099");
        well("good", None, ours(), "certificate until 3 February 2099");
        bad("expired", www, ours(), "certificate expired on 3 February 2021");
        bad("expired", www, Certificate::InTime, "certificate expired on 3 February 2021");
        bad("early", www, ours(), "certificate is valid only from 4 May 2098");
        bad("early", www, Certificate::InTime, "certificate is valid only from 4 May 2098");
        bad("other", www, ours(), "certificate is for mail.example.org, not for www.example.org");
        well("other", www, Certificate::InTime, "certificate until 3 February 2099");
        bad("self", www, ours(), "certificate that only its server vouches for");
        bad("good", www, by("self.pem"), "certificate of an unknown authority");
        assert!(verdict("self", www, Certificate::InTime).is_well());
        assert!(verdict("self", www, by("self.pem")).is_well(), "it is trusted itself");
        bad(
            "self",
            Some("b.example.org"),
            by("self.pem"),
            "certificate is for www.example.org, not for b.example.org",
        );
        well("expired", www, Certificate::Any, "certificate until 3 February 2021");
        // Where the machine knows nobody, that is told before any check is made.
        let trusted = check(CheckKind::Tls(tls(www, Certificate::Trusted)));
        match Prepared::new(&trusted, &Means::new().unwrap()) {
            Ok(_) => bad("good", www, Certificate::Trusted, "certificate of an unknown authority"),
            Err(why) => assert!(why.contains("knows no certificate authorities"), "{why}"),
        }
    }
    for (file, why) in [("good.key", "there is no certificate in it"), ("no-such-file", "No such file")] {
        let kind = CheckKind::Tls(tls(www, by(file)));
        let fault = Prepared::new(&check(kind), &Means::new().unwrap()).expect_err("there is no authority");
        assert!(fault.contains(why), "{fault}");
    }
}

fn stolen() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    for is_old in [false, true] {
        let server = tls_server(&Shown::new(folder.path(), "good", "other"), is_old);
        for certificate in
            [Certificate::Any, Certificate::InTime, Certificate::TrustedBy(folder.path().join("ca.pem"))]
        {
            let why = bad(&check(CheckKind::Tls(tls(Some("www.example.org"), certificate))), server);
            assert_eq!(why, "certificate: BadSignature");
        }
    }
}

fn renewed() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    for is_old in [false, true] {
        let shown = Shown::new(folder.path(), "good", "good");
        let server = tls_server(&shown, is_old);
        let kind = CheckKind::Http { tls: Some(tls(None, Certificate::InTime)), page: page(text("welcome")) };
        runtime().block_on(async {
            let prepared = Prepared::new(&check(kind), &Means::new().unwrap()).unwrap();
            for _ in 0..3 {
                let verdict = perform(&prepared, target(server)).await;
                assert!(verdict.is_well(), "{verdict:?}");
            }
            *shown.0.lock().unwrap() = Shown::read(folder.path(), "expired", "expired");
            let verdict = perform(&prepared, target(server)).await;
            assert!(!verdict.is_well(), "a session was taken up again");
        });
    }
}

fn through() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let server = tls_server(&Shown::new(folder.path(), "good", "good"), false);
    let ours = || Some(tls(None, Certificate::TrustedBy(folder.path().join("ca.pem"))));
    let http = |expect: Expect| CheckKind::Http { tls: ours(), page: page(expect) };
    assert_eq!(well(&check(http(text("welcome"))), server), "200 OK");
    assert_eq!(bad(&check(http(text("gone"))), server), "200 OK, without \"gone\"");
    let talk = |expect: &str| CheckKind::Talk { tls: ours(), send: b"hi".into(), expect: text(expect) };
    assert_eq!(well(&check(talk("elcom")), server), "\"HTTP/1.1 200 OK\"");
    assert_eq!(bad(&soon(talk("gone")), server), format!("only \"HTTP/1.1 200 OK\" within {SOON}"));
}

fn no_tls() {
    let any = || CheckKind::Tls(tls(None, Certificate::Any));
    assert_eq!(bad(&soon(any()), server(hold)), "connected, but no handshake of TLS within 200ms");
    let plain = server(|mut stream| {
        answer(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        hold(stream);
    });
    assert_eq!(bad(&check(any()), plain), "no TLS");
    let closes = bad(&check(any()), server(drop));
    assert!(["closed in the middle of TLS", "reset"].contains(&closes.as_str()), "{closes}");
    let floods = server(|mut stream| while stream.write_all(&[0x16; 65_536]).is_ok() {});
    let verdict = bad(&check(any()), floods);
    assert!(verdict.contains("TLS"), "{verdict}");
    // One that never says its name.
    let kind = CheckKind::Tls(tls(Some("no name"), Certificate::Any));
    let fault = Prepared::new(&check(kind), &Means::new().unwrap()).expect_err("it is no name");
    assert_eq!(fault, "\"no name\" is no name of a server");
}
