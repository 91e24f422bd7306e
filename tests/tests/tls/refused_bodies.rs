//! Refusals of requests whose bodies nobody wants: curl gets each of them over HTTP/2, however much it still had to send.
//! A refusal that came before the body's end was lost on it ("Stream error in the HTTP/2 framing layer", status 92).

use std::fs;

use anyhow::ensure;
use tests::Program;

use crate::house::curl;
use crate::serving::{solo, stocked};

/// More than a stream's first window.
const BODY_BYTES: usize = 200 * 1024;
/// More than any body may have.
const TOO_MANY_BYTES: usize = 12 * 1024 * 1024;
/// The first has everything, the others what was lost so often.
const ROUNDS: usize = 4;

#[test]
fn refusals_reach_curl_over_http2_whatever_it_still_sends() -> anyhow::Result<()> {
    let shop = stocked()?;
    let member = solo(&shop, &Program::kvorum()?, &[])?;
    fs::write(shop.path("body"), vec![b'x'; BODY_BYTES])?;
    fs::write(shop.path("huge"), vec![b'x'; TOO_MANY_BYTES])?;
    let (body, huge) = (format!("@{}", shop.word("body")), format!("@{}", shop.word("huge")));
    let json = "Content-Type: application/json";
    let table = [
        ("POST", "/v3/nothing", &body, "", "404"),
        ("PUT", "/v3/kv/put", &body, "", "501"),
        ("POST", "/v3/kv/put", &body, "", "400"),
        ("POST", "/v3/watch", &body, "", "500"),
        ("POST", "//v3/kv/put", &body, "", "301"),
        ("POST", "/version", &body, "", "405"),
        ("POST", "/nowhere", &body, "", "404"),
        ("PATCH", "/v2/keys/x", &body, "", "405"),
        ("PUT", "/v2/keys/x?ttl=x", &body, json, "400"),
        ("POST", "/v2/members", &body, "", "415"),
        ("PUT", "/v2/auth/nothing", &body, "", "404"),
        ("POST", "/v3/kv/put", &huge, "", "429"),
        ("PUT", "/v2/keys/x", &huge, "", "400"),
    ];
    for round in 0..ROUNDS {
        for (method, path, body, header, status) in table {
            for version in ["--http2", "--http1.1"] {
                if round > 0 && (version == "--http1.1" || body == &huge) {
                    continue;
                }
                let url = member.url() + path;
                let words = ["-X", method, version, "-o", "/dev/null", "-w", "%{http_code}", "--data-binary"];
                let words = [&words[..], &[body, "-H", header, &url]].concat();
                let answer = curl(&shop, Some("client"), &words)?;
                ensure!(
                    answer.code == 0 && answer.body == status,
                    "{method} {path} {version}: {answer:?} and not {status}"
                );
            }
        }
    }
    Ok(())
}
