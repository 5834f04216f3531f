//! What a server's certificate must be: RFC 5280, and RFC 9525 for its name.
//!
//! In each of the four ways the signature of the handshake itself is verified: whoever shows a certificate has its key. The
//! certificate is verified at each handshake: no session is ever taken up again, for a check that did so would never see the
//! certificate that has come since.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::config::Certificate;

/// Who vouches for a certificate.
#[derive(Clone, Debug)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
    /// A certificate that is one of these itself needs nobody's word: a server that has made its own.
    themselves: Arc<Vec<CertificateDer<'static>>>,
}

impl Authorities {
    /// Those of the machine, or why it has none.
    pub fn of_this_machine() -> Result<Self, String> {
        let found = rustls_native_certs::load_native_certs();
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        let mut roots = RootCertStore::empty();
        if roots.add_parsable_certificates(found.certs).0 == 0 {
            return Err(format!(
                "this machine knows no certificate authorities{why}; install ca-certificates"
            ));
        }
        Ok(Self { roots: Arc::new(roots), themselves: Arc::default() })
    }

    /// Those of a file of PEM, or what is wrong with it.
    fn of_file(path: &std::path::Path) -> Result<Self, String> {
        let wrong =
            |why: &dyn std::fmt::Display| format!("cannot take authorities from {}: {why}", path.display());
        let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
        let certificates = read.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(&error))?;
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        if added == 0 {
            return Err(wrong(&"there is no certificate in it"));
        }
        Ok(Self { roots: Arc::new(roots), themselves: Arc::new(certificates) })
    }
}

/// How TLS is spoken where a certificate must be so. `machine` gives the machine's authorities.
pub fn tls_config(
    certificate: &Certificate,
    machine: impl FnOnce() -> Result<Authorities, String>,
    protocol: Option<&[u8]>,
) -> Result<ClientConfig, String> {
    let wanted = match certificate {
        Certificate::Trusted => Wanted::VouchedFor(machine()?),
        Certificate::TrustedBy(file) => Wanted::VouchedFor(Authorities::of_file(file)?),
        Certificate::InTime => Wanted::InTime,
        Certificate::Any => Wanted::Anything,
    };
    let provider = Arc::new(ring::default_provider());
    let judge = Arc::new(Judge { wanted, provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(judge).with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols.extend(protocol.map(<[u8]>::to_vec));
    Ok(config)
}

#[derive(Debug)]
enum Wanted {
    VouchedFor(Authorities),
    InTime,
    Anything,
}

#[derive(Debug)]
struct Judge {
    wanted: Wanted,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.wanted {
            Wanted::Anything => {}
            Wanted::InTime => in_time(end_entity, now)?,
            Wanted::VouchedFor(authorities) => {
                in_time(end_entity, now)?;
                let parsed = ParsedCertificate::try_from(end_entity).map_err(in_words)?;
                if !authorities.themselves.iter().any(|one| one == end_entity) {
                    let algorithms = self.provider.signature_verification_algorithms.all;
                    let (roots, chain) = (&authorities.roots, intermediates);
                    let vouched =
                        verify_server_cert_signed_by_trust_anchor(&parsed, roots, chain, now, algorithms);
                    vouched.map_err(|error| match is_of_its_own(end_entity) {
                        Some(true) => {
                            Error::General("certificate that only its server vouches for".to_owned())
                        }
                        Some(false) | None => in_words(error),
                    })?;
                }
                verify_server_name(&parsed, server_name).map_err(in_words)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn in_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let Some((from, until)) = dates(certificate) else {
        return Err(Error::General("a certificate whose dates cannot be read".to_owned()));
    };
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now > until {
        return Err(Error::General(format!("certificate expired on {}", day(until))));
    }
    if now < from {
        return Err(Error::General(format!("certificate is valid only from {}", day(from))));
    }
    Ok(())
}

/// Why a handshake failed, in few words.
pub fn why(error: &Error) -> String {
    let error = in_words(error.clone());
    if let Error::General(text) = error {
        text
    } else if let Error::AlertReceived(alert) = error {
        format!("TLS alert {alert:?}")
    } else if let Error::InvalidMessage(_) = error {
        "no TLS".to_owned()
    } else {
        format!("in TLS: {error}")
    }
}

fn in_words(error: Error) -> Error {
    let Error::InvalidCertificate(fault) = &error else { return error };
    Error::General(if *fault == CertificateError::UnknownIssuer {
        "certificate of an unknown authority".to_owned()
    } else if let CertificateError::ExpiredContext { not_after, .. } = fault {
        let until = i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX);
        format!("a certificate of its chain expired on {}", day(until))
    } else if let CertificateError::NotValidForNameContext { expected, presented } = fault {
        // As they stand in the certificate: `DnsName("a")`.
        let names: Vec<&str> = presented.iter().map(|name| name.split('"').nth(1).unwrap_or(name)).collect();
        let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
        format!("certificate is for {names}, not for {}", expected.to_str())
    } else {
        format!("certificate: {fault}")
    })
}

/// From when until when a certificate is valid, in seconds since 1970: RFC 5280, 4.1.2.5. No more of it is read, so that a
/// certificate with other oddities still has its dates.
pub fn dates(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_, mut rest) = issuer(certificate)?;
    let mut validity = element(&mut rest, 0x30)?;
    let from = time(&mut validity)?;
    Some((from, time(&mut validity)?))
}

/// Whether whoever made a certificate bears the name that it is for.
fn is_of_its_own(certificate: &[u8]) -> Option<bool> {
    let (issuer, mut rest) = issuer(certificate)?;
    element(&mut rest, 0x30)?;
    Some(issuer == element(&mut rest, 0x30)?)
}

/// Who made a certificate, and what stands behind that: the dates, then whom it is for.
fn issuer(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = certificate;
    let mut whole = element(&mut rest, 0x30)?;
    let mut signed = element(&mut whole, 0x30)?;
    // The version may be left out; then the serial number and the algorithm.
    let _ = element(&mut signed, 0xa0);
    element(&mut signed, 0x02)?;
    element(&mut signed, 0x30)?;
    Some((element(&mut signed, 0x30)?, signed))
}

/// What is in the next element of DER, if it has this tag.
fn element<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (&first, after) = rest.split_first()?;
    let (&length, mut after) = after.split_first().filter(|_| first == tag)?;
    let length = match length {
        0..=0x7f => usize::from(length),
        0x81..=0x83 => {
            let (bytes, behind) = after.split_at_checked(usize::from(length & 0x7f))?;
            after = behind;
            bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        }
        // Longer than a handshake may be, or without a length.
        _ => return None,
    };
    let (inside, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(inside)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(rest: &mut &[u8]) -> Option<i64> {
    let short = element(rest, 0x17);
    let text = match short {
        Some(text) => text,
        None => element(rest, 0x18)?,
    };
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let (year, digits) = digits.split_at_checked(if short.is_some() { 2 } else { 4 })?;
    let number = |digits: &[u8]| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    let year = match (number(year), short) {
        (year @ 50.., Some(_)) => 1900 + year,
        (year, Some(_)) => 2000 + year,
        (year, None) => year,
    };
    let [month, day, hour, minute, second] =
        <[&[u8]; 5]>::try_from(digits.chunks_exact(2).collect::<Vec<_>>()).ok()?.map(number);
    if digits.len() != 10 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days since 1970 in the Gregorian calendar: years begin with March here, so that the day that is sometimes there is the
/// last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + in_year - 719_468
}

/// `3 May 2024`.
pub fn day(seconds: i64) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let wanted = seconds.div_euclid(24 * 60 * 60);
    // A year is found by its mean length, and mended by one.
    let guess = 1970 + wanted * 400 / 146_097;
    let year = if days(guess + 1, 1, 1) <= wanted {
        guess + 1
    } else {
        guess - i64::from(days(guess, 1, 1) > wanted)
    };
    let months = (1..=12_u8).zip(MONTHS).rev();
    let found =
        months.map(|(month, name)| (days(year, month.into(), 1), name)).find(|(first, _)| *first <= wanted);
    found.map_or_else(String::new, |(first, name)| format!("{} {name} {year}", wanted - first + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_five_hundred_years_has_its_date() {
        let mut expected = (1900, 1, 1);
        const LENGTHS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut count = days(1900, 1, 1);
        assert_eq!((day(0), day(-1)), ("1 January 1970".to_owned(), "31 December 1969".to_owned()));
        while expected.0 < 2400 {
            let (year, month, date) = expected;
            assert_eq!(days(year, month, date), count);
            let shown = day(count * 86_400 + 86_399);
            assert!(
                shown.starts_with(&format!("{date} ")) && shown.ends_with(&format!(" {year}")),
                "{shown}"
            );
            let is_long = month == 2 && (year % 4 == 0 && year % 100 != 0 || year % 400 == 0);
            let length = LENGTHS[usize::try_from(month - 1).unwrap()] + i64::from(is_long);
            expected = match (date < length, month < 12) {
                (true, _) => (year, month, date + 1),
                (false, true) => (year, month + 1, 1),
                (false, false) => (year + 1, 1, 1),
            };
            count += 1;
        }
    }

    /// The outer half of a certificate.
    fn certificate(validity: &[u8]) -> Vec<u8> {
        let wrap =
            |tag: u8, inside: &[u8]| [&[tag, 0x81, u8::try_from(inside.len()).unwrap()], inside].concat();
        let inside =
            [b"\xa0\x03\x02\x01\x02\x02\x01\x07\x30\x00\x30\x00".as_slice(), &wrap(0x30, validity)].concat();
        wrap(0x30, &wrap(0x30, &inside))
    }

    #[test]
    fn both_forms_of_dates_are_read() {
        let der = certificate(b"\x17\x0d491231235959Z\x18\x0f20500101000000Z");
        let (from, until) = dates(&der).expect("they are well formed");
        assert_eq!((day(from), until - from), ("31 December 2049".to_owned(), 1));
        let old = certificate(b"\x17\x0d500101000000Z\x18\x0f99991231235959Z");
        let (from, until) = dates(&old).expect("they are well formed");
        assert_eq!((day(from), day(until)), ("1 January 1950".to_owned(), "31 December 9999".to_owned()));
    }

    #[test]
    fn what_is_no_certificate_has_no_dates() {
        let der = certificate(b"\x17\x0d491231235959Z\x18\x0f20500101000000Z");
        for cut in 0..der.len() {
            assert_eq!(dates(&der[..cut]), None, "cut at {cut}");
            for bit in 0..8 {
                let mut broken = der.clone();
                broken[cut] ^= 1 << bit;
                // No panic.
                let _ = dates(&broken).map(|(from, until)| (day(from), day(until)));
            }
        }
        for wrong in
            ["\x17\x0d491331235959Z", "\x17\x0d4912312359+9Z", "\x17\x0c49123123595Z", "\x17\x0b4912312359Z"]
        {
            assert_eq!(dates(&certificate(wrong.repeat(2).as_bytes())), None, "{wrong:?}");
        }
    }
}
