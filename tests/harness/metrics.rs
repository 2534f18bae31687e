//! The metrics page of a server that was started with one.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
};

use super::Server;

/// The samples of the metrics page: name with labels, and value.
pub fn metrics(server: &Server) -> Vec<(String, f64)> {
    samples(&address(server))
}

/// The names of all metrics, whether they have samples or not.
pub fn names(server: &Server) -> BTreeSet<String> {
    let page = page(&address(server));
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

fn address(server: &Server) -> String {
    let log = server.log();
    let (_, address) = log.split_once("metrics on http://").expect("the address of the metrics");
    address.split('/').next().unwrap().to_owned()
}

/// The samples of the page at this address.
pub fn samples(address: &str) -> Vec<(String, f64)> {
    page(address)
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

fn page(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.") && head.contains(" 200 "), "{head}");
    body.to_owned()
}

/// The sum of a metric's samples whose labels have all of `labels`, such as `model="hostile"`.
pub fn metric(server: &Server, name: &str, labels: &[&str]) -> f64 {
    let is = |key: &str| {
        let rest = key.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
            && labels.iter().all(|label| key.contains(label))
    };
    metrics(server).iter().filter(|(key, _)| is(key)).map(|(_, value)| value).sum()
}
