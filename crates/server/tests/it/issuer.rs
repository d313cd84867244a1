//! An OIDC issuer with a key of each kind, its JWK Set in a file, and the attacks on it.

use std::path::Path;

use ed25519_dalek::Signer as _;
use ids::text;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};

use super::rig::NOON;

/// Its `iss`.
pub(crate) const ISS: &str = "https://login.test";
/// The `aud` of its tokens.
pub(crate) const AUD: &str = "api://agents";

/// A key made for this test, in PKCS #1.
const RSA: &str = "MIIEogIBAAKCAQEAywBG-u4P34Tgjpdng1BXvWNgMN3kP-gksQBP1_LWyvIrEjZA3KEqNjfjCQHjG0j6I5er-7Q9-w\
     YxkxOvRqlpvKFSi2UOfGH0JsjTN5wfj35IJWJhQOjMNAp97_GBRXlVTQb9NrGUGK01pExg5kJCU36bQE_PvxjICgrz\
     V3BEgQp4cPA13dzvpea9dV8s9yv4XFYZ5TW-dKPANO-z3RvZ5CSwQoIjVvvSZkZdU_ZeY8KcFtgMwJNvf5QYoWZUZ9\
     OFClX3yi-PA0hSqBEPyNUHyy72AYTLmKPouEvE2gCWcutomW7NQw3P0tiyX3a0mtAeoSkfw_v0-N2cclnST2GtqwID\
     AQABAoIBADj5U3KSxRa1KvcqLC2xK2bmkLU2WZzMERwyW7ZenAUqkYcTfgHOI9RCvDAnfO-H_Fhn9ad3r1uYIerHAA\
     8Ddj8wQcQIsVecgFMwUwONCFiUFziS03vNup4ygaUJsX_nrVaoiwHCNi_00RTTMPD_ELFxW65hmAtor6AN8b0NL9TN\
     NQj2hjbEeAJ0IKFL-YxUUy9Kcj684aFljBuqd5s4NyB9YKStH9VnKfCOnsI__a46hGY7wsP4a5CXQl1tw5BJGiH30-\
     56uyHd3cP64I3_MbfXnNBslfrwn3f1wXGxy3wArgY2GGT5aEgelhL588NqjfS_IRbLN4ylKosPZIjIAa0CgYEA5Cyg\
     8u9oeNxSBDFdX4cnSBQxYd74-tJ_JT-202X5vsMEKK28phTfkUfTqFRtMDhqjvbVshRwNe50o-rzjznneEhAZJX2Ag\
     uETYIwSYIIvemNz99KuvW0IePD_I4q5YSXxSf4HWArMX7BqD72XuVpTJFlkApfzQyGI-bZYxUF7S0CgYEA48HD6ZEw\
     KiuN9Vm9DMfrQNpe43IidEFgOtLWOPeSFcZsdQqqsKu6EoL2dsXV4hj_UMbZODx1EaZn6A4fammn2JQn0qbWQiS92k\
     TUX4WiVj1xETNY6JSJfOdfSFB3UWMReqMkYbjXgiTsgrKHNsHDaVwKRFboERJj8FHaudb4PTcCgYAPPhP6ZpfaCw3H\
     jeyo5wRuwjqSSSzkxI8N0_XIpXVLkweCGCkUByzwLZYsFoe8wugLaN3ZqZfdYnKUSKvAk6Os21bB4WqvtElATEQhhP\
     hEh4ebrVT2rFc-NFLxWiXvcy4YU5U1kSkRg2A4dwxKRpUEMmpQdwDzV7TWTSOUhOECeQKBgAdYvrsQBd-2W_PoGyMI\
     Z9xFrv3jNp1NZo8_Mc3QnpO5PNJhr7PXNj9WniCirQ2IBORUJbmcqaISHhPsMLM8CUABN2-iFhM4IC-kPL2AEAZ8IO\
     OPJnUKJY0z4Wzxu4eSjIPKM2g7kCgQjNiCbb4kbes-Hs6phv7V-wdLfKS1_HftAoGADsk0CcEYauc88kb34X8g77Aw\
     S54hoJa5DEuhCihIh79ZtB7IA6AUCAk4vd3ycaiyU9HfXwsLSuUfxygpuyB2M5MPhGeDj8AqRTr1DivG2ssJESDOyW\
     VEd5xWo4_9dBJl-1V6YjfwgHjlNOiZIhuS7yKcW1QB1awiIQYN4e1hoEI";
/// Its modulus.
const RSA_N: &str = "ywBG-u4P34Tgjpdng1BXvWNgMN3kP-gksQBP1_LWyvIrEjZA3KEqNjfjCQHjG0j6I5er-7Q9-wYxkxOvRqlpvKFSi2\
     UOfGH0JsjTN5wfj35IJWJhQOjMNAp97_GBRXlVTQb9NrGUGK01pExg5kJCU36bQE_PvxjICgrzV3BEgQp4cPA13dzv\
     pea9dV8s9yv4XFYZ5TW-dKPANO-z3RvZ5CSwQoIjVvvSZkZdU_ZeY8KcFtgMwJNvf5QYoWZUZ9OFClX3yi-PA0hSqB\
     EPyNUHyy72AYTLmKPouEvE2gCWcutomW7NQw3P0tiyX3a0mtAeoSkfw_v0-N2cclnST2Gtqw";
/// A key on P-256 made for this test, in PKCS #8.
const EC: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgwQE6-yZiVMA-KEZrxcV6MXn1_0pre90nzMAcavJ8nW\
     -hRANCAAQ7enzAKqzHLvGVBL5cJycbdmExAinlyDra51WKpyWXsOUDVsJgstaV31L4RWyDsVafA4FrEXZ22iuGmRFp\
     pXYd";
/// Its point.
const EC_X: &str = "O3p8wCqsxy7xlQS-XCcnG3ZhMQIp5cg62udViqcll7A";
/// Its point.
const EC_Y: &str = "5QNWwmCy1pXfUvhFbIOxVp8DgWsRdnbaK4aZEWmldh0";

fn unbase64(text: &str) -> Vec<u8> {
    text::unbase64url(text).unwrap()
}

fn ed25519(seed: u8) -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[seed; 32])
}

/// Writes the issuer's JWK Set.
pub(crate) fn publish(path: &Path) {
    let x = text::base64url(ed25519(1).verifying_key().as_bytes());
    let keys = json!({"keys": [
        {"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": RSA_N, "e": "AQAB"},
        {"kty": "EC", "kid": "ec", "crv": "P-256", "x": EC_X, "y": EC_Y},
        {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": x},
    ]});
    std::fs::write(path, keys.to_string()).unwrap();
}

/// How the deployment is told to trust it. `PS256` is not among what it may use.
pub(crate) fn settings(keys: &Path) -> Value {
    json!({
        "name": "login", "issuer": ISS, "audience": AUD,
        "algorithms": ["RS256", "ES256", "EdDSA"],
        "tenant": {"claim": "org.id"}, "environment": {"fixed": "live"},
        "workflow": {"fixed": "support"}, "grants": "model:*", "direct": true,
        "keys": {"file": keys},
    })
}

pub(crate) fn claims() -> Value {
    json!({"iss": ISS, "aud": AUD, "sub": "ada@acme.example", "iat": NOON.secs(),
        "exp": NOON.secs() + 600, "org": {"id": "org_acme"}})
}

fn message(header: &Value, claims: &Value) -> String {
    let part = |json: &Value| text::base64url(json.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

/// A token with a good signature by the key of this id.
pub(crate) fn token(alg: &str, kid: &str, claims: &Value) -> String {
    let message = message(&json!({"alg": alg, "typ": "JWT", "kid": kid}), claims);
    let signature = match alg {
        "EdDSA" => text::base64url(&ed25519(1).sign(message.as_bytes()).to_bytes()),
        "ES256" => {
            let key = EncodingKey::from_ec_der(&unbase64(EC));
            crypto::sign(message.as_bytes(), &key, Algorithm::ES256).unwrap()
        }
        alg => {
            let key = EncodingKey::from_rsa_der(&unbase64(RSA));
            let algorithm = if alg == "PS256" { Algorithm::PS256 } else { Algorithm::RS256 };
            crypto::sign(message.as_bytes(), &key, algorithm).unwrap()
        }
    };
    format!("{message}.{signature}")
}

/// The classic: the verifier takes the public key for a shared secret.
pub(crate) fn confused() -> String {
    let message = message(&json!({"alg": "HS256", "typ": "JWT", "kid": "rsa"}), &claims());
    let key = EncodingKey::from_secret(&unbase64(RSA_N));
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

/// Not signed at all.
pub(crate) fn unsigned() -> String {
    format!("{}.", message(&json!({"alg": "none", "typ": "JWT"}), &claims()))
}

/// Signed by somebody else's key under the id of the issuer's.
pub(crate) fn forged() -> String {
    let message = message(&json!({"alg": "EdDSA", "typ": "JWT", "kid": "ed"}), &claims());
    let signature = text::base64url(&ed25519(2).sign(message.as_bytes()).to_bytes());
    format!("{message}.{signature}")
}
